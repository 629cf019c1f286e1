import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  decodeStun,
  getAddress,
  getBytes,
  getErrorCode,
  getUnknownAttributes,
  getXorAddress,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
} from "@adit/ice";
import { BindingServer, type DiscoverySocket } from "../src/stun-server.ts";

const CLIENT = SocketAddress.of("203.0.113.9", 5000);
const at = (ip: string, port: number): SocketAddress => SocketAddress.of(ip, port);
const FOUR: readonly DiscoverySocket[] = [
  { socket: 0, address: at("198.51.100.1", 3478), ip: "primary", port: "primary" },
  { socket: 1, address: at("198.51.100.1", 3479), ip: "primary", port: "alternate" },
  { socket: 2, address: at("198.51.100.2", 3478), ip: "alternate", port: "primary" },
  { socket: 3, address: at("198.51.100.2", 3479), ip: "alternate", port: "alternate" },
];

const ask = (server: BindingServer, socket: number, add: (builder: StunBuilder) => unknown = () => {}) => {
  const builder = new StunBuilder("request", STUN_METHOD.BINDING, new Uint8Array(12));
  add(builder);
  const request = decodeStun(builder.build());
  if (!request) throw new Error("not STUN");
  const answer = server.answer(request, CLIENT, socket);
  const response = decodeStun(answer.data);
  if (!response) throw new Error("the answer is not STUN");
  return { ...answer, response };
};

test("CHANGE-REQUEST chooses the socket that answers, from each of the four (RFC 5780 §6.1)", (t) => {
  const server = new BindingServer(FOUR);
  // Rows: asked at; columns: change nothing, port (2), IP (4), both (6).
  const table = [
    [0, 1, 2, 3],
    [1, 0, 3, 2],
    [2, 3, 0, 1],
    [3, 2, 1, 0],
  ] as const;
  for (const [asked, row] of table.entries()) {
    for (const [i, expected] of row.entries()) {
      const { socket, to, response } = ask(server, asked, (b) => b.u32(STUN_ATTRIBUTE.CHANGE_REQUEST, i * 2));
      t.equal(socket, expected, `asked at ${asked}, flags ${i * 2}`);
      t.equal(to.key, CLIENT.key);
      t.equal(t.must(getXorAddress(response, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)).key, CLIENT.key);
      t.equal(t.must(getAddress(response, STUN_ATTRIBUTE.RESPONSE_ORIGIN)).key, FOUR[expected]?.address.key);
      t.equal(t.must(getAddress(response, STUN_ATTRIBUTE.OTHER_ADDRESS)).key, FOUR[row[3]]?.address.key);
    }
  }
});

test("RESPONSE-PORT moves the answer, PADDING is given back, both together are refused (RFC 5780 §6.1)", (t) => {
  const server = new BindingServer(FOUR);
  const moved = ask(server, 0, (b) => b.add(STUN_ATTRIBUTE.RESPONSE_PORT, Uint8Array.of(0x1f, 0x90, 0, 0)));
  t.equal(moved.to.key, "203.0.113.9:8080");
  const padded = ask(server, 0, (b) => b.add(STUN_ATTRIBUTE.PADDING, new Uint8Array(1400)));
  t.equal(t.must(getBytes(padded.response, STUN_ATTRIBUTE.PADDING)).length, 1400);
  const both = ask(server, 0, (b) =>
    b.add(STUN_ATTRIBUTE.RESPONSE_PORT, Uint8Array.of(0x1f, 0x90)).add(STUN_ATTRIBUTE.PADDING, new Uint8Array(4)),
  );
  t.equal(t.must(getErrorCode(both.response)).code, 400);
  t.equal(both.to.key, CLIENT.key, "a refusal goes to who asked");
  const zero = ask(server, 0, (b) => b.add(STUN_ATTRIBUTE.RESPONSE_PORT, Uint8Array.of(0, 0)));
  t.equal(t.must(getErrorCode(zero.response)).code, 400);
});

test("without a second address, and on a stream, these attributes are unknown", (t) => {
  for (const [server, socket] of [
    [new BindingServer(), 0],
    [new BindingServer(FOUR), 9],
  ] as const) {
    const plain = ask(server, socket);
    t.equal(plain.response.class, "success");
    t.equal(getAddress(plain.response, STUN_ATTRIBUTE.OTHER_ADDRESS), null);
    const { response } = ask(server, socket, (b) => b.u32(STUN_ATTRIBUTE.CHANGE_REQUEST, 6));
    t.equal(t.must(getErrorCode(response)).code, 420);
    t.same(getUnknownAttributes(response), [STUN_ATTRIBUTE.CHANGE_REQUEST]);
  }
});
