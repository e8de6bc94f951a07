// Package leadership decides who leads which group, and who may shut down. It learns the
// leaders of groups that this member has no replica of, spreads leaders evenly, hands over
// what a member leads before it ends, and lets members shut down one after the other.
package leadership
