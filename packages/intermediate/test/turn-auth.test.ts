import { test } from "@adit/harness";
import {
  decodeStun,
  getBytes,
  getNonce,
  LongTermAuth,
  longTermKeySha256,
  readChallenge,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  verifyIntegritySha256,
} from "@adit/ice";
import { restPassword } from "../src/credentials.ts";
import { ALICE, alice, CLIENT, outcome, REALM, REST_SECRET, RelayKit, udp } from "./relay-kit.ts";

const ALLOCATE = STUN_METHOD.ALLOCATE;

function send(kit: RelayKit, data: Uint8Array): StunMessage {
  const response = decodeStun(kit.datagram(CLIENT, data)[0]?.data ?? new Uint8Array());
  if (!response) throw new Error("no answer came");
  return response;
}

function challenge(kit: RelayKit): StunMessage {
  return send(kit, udp(new StunBuilder("request", ALLOCATE, kit.transactionId())).build());
}

test("a 401 offers SHA-256 before MD5, under a nonce that says so (RFC 8489 §9.2.4)", (t) => {
  const kit = new RelayKit();
  const refused = challenge(kit);
  t.same([...t.must(getBytes(refused, STUN_ATTRIBUTE.PASSWORD_ALGORITHMS))], [0, 2, 0, 0, 0, 1, 0, 0]);
  t.equal(t.must(readChallenge(refused)).algorithms?.chosen, 2);
  const nonce = t.must(getNonce(refused));
  const features = Buffer.from(nonce.slice("obMatJos2".length, "obMatJos2".length + 4), "base64");
  t.match(nonce, /^obMatJos2/);
  t.equal((features[0] as number) >> 7, 1, "bit 0 is the leftmost one (§18.1)");
  t.equal((features[2] as number) & 1, 1, "and counted from the right, as the sample in appendix B.1 has it");
});

test("a client that takes SHA-256 is let in, and answered with MESSAGE-INTEGRITY-SHA256 alone", (t) => {
  const kit = new RelayKit();
  const username = "1900000000:x";
  for (const credentials of [ALICE, { username, password: restPassword(REST_SECRET, username) }]) {
    const kit = new RelayKit();
    const auth = new LongTermAuth(t.must(readChallenge(challenge(kit))), credentials);
    const response = send(kit, auth.sign(udp(new StunBuilder("request", ALLOCATE, kit.transactionId()))));
    t.equal(outcome(response), "success");
    t.ok(auth.verify(response));
    t.equal(response.integrityOffset, -1);
    t.equal(kit.server.stats.allocations, 1);
  }
  t.equal(kit.server.stats.allocations, 0);
});

test("a client of RFC 5389 that knows nothing of it goes on with MD5", (t) => {
  t.equal(outcome(new RelayKit().allocate(alice())), "success");
});

test("a list of algorithms that somebody shortened on the way is refused, and so is a choice that was not offered", (t) => {
  const kit = new RelayKit();
  const nonce = kit.challenge(CLIENT);
  const cases: readonly (readonly [string, readonly number[] | null, readonly number[] | null])[] = [
    ["shortened", [0, 1, 0, 0], [0, 1, 0, 0]],
    ["turned around", [0, 1, 0, 0, 0, 2, 0, 0], [0, 1, 0, 0]],
    ["no choice", [0, 2, 0, 0, 0, 1, 0, 0], null],
    ["no list", null, [0, 2, 0, 0]],
    ["not offered", [0, 2, 0, 0, 0, 1, 0, 0], [0, 3, 0, 0]],
    ["with parameters", [0, 2, 0, 0, 0, 1, 0, 0], [0, 2, 0, 4, 1, 2, 3, 4]],
  ];
  for (const [name, list, choice] of cases) {
    const builder = udp(new StunBuilder("request", ALLOCATE, kit.transactionId()))
      .string(STUN_ATTRIBUTE.USERNAME, ALICE.username)
      .string(STUN_ATTRIBUTE.REALM, REALM)
      .string(STUN_ATTRIBUTE.NONCE, nonce);
    if (list) builder.add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, Uint8Array.from(list));
    if (choice) builder.add(STUN_ATTRIBUTE.PASSWORD_ALGORITHM, Uint8Array.from(choice));
    const sha256Key = longTermKeySha256(ALICE.username, REALM, ALICE.password);
    t.equal(outcome(send(kit, builder.build({ sha256Key }))), 400, name);
  }
});

test("a wrong password is refused with SHA-256 as well; errors about a known client are signed likewise", (t) => {
  const kit = new RelayKit();
  const wrong = new LongTermAuth(t.must(readChallenge(challenge(kit))), { ...ALICE, password: "wrong" });
  const right = new LongTermAuth(wrong.challenge, ALICE);
  const refresh = () => new StunBuilder("request", STUN_METHOD.REFRESH, kit.transactionId());
  t.equal(outcome(send(kit, wrong.sign(refresh()))), 401);
  const mismatch = send(kit, right.sign(refresh()));
  t.equal(outcome(mismatch), 437);
  t.ok(verifyIntegritySha256(mismatch, longTermKeySha256(ALICE.username, REALM, ALICE.password)));
});

test("a request in the name of another realm is challenged, whatever its key was made of", (t) => {
  const kit = new RelayKit();
  const sha256Key = longTermKeySha256(ALICE.username, REALM, ALICE.password);
  const signed = (realm: string): string | number =>
    outcome(
      send(
        kit,
        udp(new StunBuilder("request", ALLOCATE, kit.transactionId()))
          .string(STUN_ATTRIBUTE.USERNAME, ALICE.username)
          .string(STUN_ATTRIBUTE.REALM, realm)
          .string(STUN_ATTRIBUTE.NONCE, kit.challenge(CLIENT))
          .add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, Uint8Array.of(0, 2, 0, 0, 0, 1, 0, 0))
          .add(STUN_ATTRIBUTE.PASSWORD_ALGORITHM, Uint8Array.of(0, 2, 0, 0))
          .build({ sha256Key }),
      ),
    );
  t.same([signed("elsewhere"), signed(REALM)], [401, "success"]);
});
