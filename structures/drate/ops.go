package drate

import (
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a rate. Numbers are never used again.
const (
	opTake protocol.Op = 1 // [n, milliseconds to sleep at most] -> [milliseconds to sleep]
	opLeft protocol.Op = 2 // [] -> [n]
)

// ops describes the operations. None grows: there is one row.
var ops = []structures.OpInfo{
	{Op: opTake, Name: "take", Body: "[n: 1..1000000, most: 0..315360000000]", Result: "[sleep: int]", Codes: []protocol.Code{codeNotNow, codeNotConfigured}, Right: structures.RightWrite},
	{Op: opLeft, Name: "left", Body: "[]", Result: "[n: int]", Codes: []protocol.Code{codeNotConfigured}, Read: true, Right: structures.RightRead},
}

const (
	codeNotNow        = protocol.CodeKindBase + 0
	codeNotConfigured = protocol.CodeKindBase + 1
)

var codes = []structures.CodeInfo{
	{Code: codeNotNow, Name: "not_now", Err: errNotNow, Help: "the tokens are not there in time, and none are spent"},
	{Code: codeNotConfigured, Name: "not_configured", Err: ErrNotConfigured, Help: "the rate is not configured", Unusable: true},
}

// The limits of the settings.
const (
	// MaxTokens is the largest number of a [Rate] and the largest [Burst].
	MaxTokens = 1_000_000
	// MaxPer is the longest time of a [Rate].
	MaxPer = 24 * time.Hour
)

var settingInfos = []structures.SettingInfo{
	{Name: "burst", Type: structures.SettingInt, Help: "how many tokens there are at most; 0: as many as rate"},
	{Name: "per", Type: structures.SettingDuration, Default: structures.SettingValue{Int: 1000}, Help: "the time in which rate tokens come"},
	{Name: "rate", Type: structures.SettingInt, Default: structures.SettingValue{Int: 1}, Help: "how many tokens come in that time"},
}

var burstSetting, perSetting, rateSetting = &settingInfos[0], &settingInfos[1], &settingInfos[2]
