// Package cli is what the commands of quorate share: the streams, the flags that say which
// grid is meant, forms of values, order of arguments, and exit statuses.
package cli
