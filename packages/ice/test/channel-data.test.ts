import { concat, fromHex, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { isStun } from "../src/stun/message.ts";
import {
  channelNumberOf,
  channelPayload,
  isChannelData,
  isChannelNumber,
  parseChannelData,
  wrapChannelData,
  writeChannelHeader,
} from "../src/turn/channel-data.ts";

test("ChannelData is channel, length, payload (RFC 8656 §12.4)", (t) => {
  const data = wrapChannelData(0x4abc, utf8("hello"));
  t.same(data, concat(fromHex("4abc 0005"), utf8("hello")));
  t.ok(isChannelData(data));
  t.equal(channelNumberOf(data), 0x4abc);
  t.same(channelPayload(data).slice(), utf8("hello"));
  t.same(parseChannelData(data), { channel: 0x4abc, payload: channelPayload(data) });
});

test("a header can be written in front of a payload that is there already", (t) => {
  const out = concat(new Uint8Array(4), utf8("abc"));
  writeChannelHeader(out, 0x4000, 3);
  t.same(out, wrapChannelData(0x4000, utf8("abc")));
});

test("the payload is a view, not a copy", (t) => {
  const data = wrapChannelData(0x4000, utf8("abc"));
  t.equal(channelPayload(data).buffer, data.buffer);
});

test("padding behind the payload is ignored, an empty payload is fine (RFC 8656 §12.6)", (t) => {
  t.same(parseChannelData(fromHex("4000 0003 616263 00"))?.payload.slice(), utf8("abc"));
  t.equal(parseChannelData(fromHex("4000 0000"))?.payload.length, 0);
});

test("a length beyond the datagram, and a number outside 0x4000..0x4fff, are refused", (t) => {
  for (const bad of [
    "",
    "4000",
    "400000",
    "4000 0001",
    "4000 0004 616263",
    "3fff 0000",
    "5000 0000",
    "0000 0000",
    "8000 0000",
  ]) {
    t.notOk(isChannelData(fromHex(bad)), bad);
    t.equal(parseChannelData(fromHex(bad)), null);
  }
  t.ok(isChannelNumber(0x4000) && isChannelNumber(0x4fff));
  t.notOk(isChannelNumber(0x3fff) || isChannelNumber(0x5000));
});

test("the largest payload", (t) => {
  const data = wrapChannelData(0x4fff, new Uint8Array(0xffff));
  t.equal(channelPayload(data).length, 0xffff);
  t.notOk(isStun(data));
});
