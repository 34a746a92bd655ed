package redisstore

import (
	"strconv"
	"strings"
	"sync"
)

const slots = 16384

// slotOf returns the Redis Cluster slot of a key:
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
func slotOf(key string) int {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if j := strings.IndexByte(key[i+1:], '}'); j > 0 {
			key = key[i+1 : i+1+j]
		}
	}
	return int(crc16(key)) % slots
}

// tags returns for each slot a short text that hashes to it: the first in the
// order 0, 1, … 9, a, … z, 10, 11, … (numbers in base 36). The names of companions
// depend on the table: it must never change.
var tags = sync.OnceValue(func() *[slots]string {
	var table [slots]string
	for n, missing := int64(0), slots; missing > 0; n++ {
		tag := strconv.FormatInt(n, 36)
		if slot := slotOf(tag); table[slot] == "" {
			table[slot] = tag
			missing--
		}
	}
	return &table
})

// crc16 is CRC-16/XMODEM, the one that Redis Cluster uses.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^s[i]]
	}
	return crc
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
