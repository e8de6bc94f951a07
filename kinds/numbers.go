package kinds

import "github.com/quorate/quorate/protocol"

// messages are the types of messages of clients.
var messages = []message{
	{protocol.TypeHello, "hello", true, "opens a connection"},
	{protocol.TypeWelcome, "welcome", false, "answers a hello"},
	{protocol.TypeRequest, "request", true, "one operation inside one partition"},
	{protocol.TypeReply, "reply", false, "answers a request, session, admin or peer message"},
	{protocol.TypeBatch, "batch", true, "several requests"},
	{protocol.TypeTable, "table", false, "says where partitions are"},
	{protocol.TypeTableRequest, "table-request", true, "asks for the table"},
	{protocol.TypeGoodbye, "goodbye", false, "the member is going away"},
	{protocol.TypeSession, "session", true, "opens, keeps or closes a session"},
	{protocol.TypeAdmin, "admin", true, "an operator's question"},
	{protocol.TypePeer, "peer", false, "a member's question to another; no part of the client protocol"},
	{protocol.TypeWatchEvents, "watch_events", false, "events of watches"},
	{protocol.TypeWatchNote, "watch_note", false, "what else there is to say of a watch"},
	{protocol.TypeWatchControl, "watch_control", true, "credit, the end, or a probe of a watch"},
}

var helloFlags = []number{
	{int(protocol.HelloForward), "forward", "the client can reach this member only: it passes requests on to the leaders, one hop"},
	{int(protocol.HelloRoute), "route", "with forward: the member finds the partition, too"},
	{int(protocol.HelloNoTables), "no_tables", "no table is pushed, and the one in the welcome is empty"},
}

var requestFlags = []number{
	{int(protocol.FlagRead), "read", "it changes nothing"},
	{int(protocol.FlagStale), "stale", "with read: any replica may answer from what it has"},
	{int(protocol.FlagWait), "wait", "the reply may come with a later grant"},
	{int(protocol.FlagRepeat), "repeat", "it is not the first attempt under this identity"},
}

// features are the bits of hello and welcome.
var features = []number{}

var sessionActions = []number{
	{int(protocol.SessionOpen), "open", "open the session of a client's UUID, or find it"},
	{int(protocol.SessionHeartbeat), "heartbeat", "keep it"},
	{int(protocol.SessionClose), "close", "end it"},
}

var keyTags = []number{
	{int(protocol.KeyText), "text", "the bytes as they are"},
	{int(protocol.KeyInt), "int", "signed: 8 bytes, big-endian, the sign bit flipped"},
	{int(protocol.KeyUint), "uint", "unsigned: 8 bytes, big-endian"},
	{int(protocol.KeyBytes), "bytes", "the bytes as they are"},
	{int(protocol.KeyCBOR), "cbor", "deterministic CBOR of everything else"},
}

var codecs = []number{
	{1, "cbor", "CBOR, all of it, nested at most 1,000 deep"},
	{2, "json", "JSON"},
	{3, "raw", "bytes as they are"},
	{128, "own", "the first of an application's own"},
}

var routes = []route{
	{"name", "the partition of the structure's name"},
	{"key", "the partition of the key that is item first of the body"},
	{"keys", "all keys are of one partition: item first of the body, and each that many (every) items behind another"},
	{"part", "any partition: it is about the part of the structure that lies there"},
}

// limits are those of a welcome, in its order.
func limits() []limit {
	l := protocol.DefaultLimits()
	return []limit{
		{"name", l.Name, 0, "bytes of a structure's name"},
		{"key", l.Key, 0, "bytes of an encoded key, without its tag byte"},
		{"value", l.Value, 0, "bytes of an encoded value, with the byte of its codec"},
		{"frame", l.Frame, protocol.MaxFrame, "bytes of a frame"},
		{"page-entries", l.PageEntries, 0, "entries that one answer has at most"},
		{"page-bytes", l.PageBytes, 0, "bytes that one answer has at most, if it has more than one entry"},
		{"in-flight", l.InFlight, 0, "requests in flight on a connection, those of a batch counted each, and each repeat of a waiting call"},
		{"slots", l.Slots, 1 << 16, "slots of a session in a partition"},
		{"waiters", l.Waiters, 0, "calls that wait for one structure"},
	}
}

var constants = func() []constant {
	l := protocol.DefaultLimits()
	return []constant{
		{"handshake_frame", protocol.MaxHandshakeFrame, "bytes of a frame before the handshake is done"},
		{"body", int64(l.Body()), "bytes of the body of a request, if limits are the defaults; a welcome says which is in force"},
		{"skip_depth", 8, "how deep what a later version appends is nested at most"},
		{"system_group", int64(protocol.SystemGroup), "the group whose leader keeps the sessions"},
		{"own_codes", int64(protocol.CodeKindBase), "the first code of a structure's own"},
		{"min_session_ttl", protocol.MinSessionTTL.Milliseconds(), "milliseconds"},
		{"max_session_ttl", protocol.MaxSessionTTL.Milliseconds(), "milliseconds"},
		{"repeat_waiting", 5000, "milliseconds after which a client repeats a request that waits"},
	}
}()
