import { SmoothedRtt } from "@adit/core";
import { test } from "@adit/harness";

test("RFC 6298 §2.2: after the first measurement R, SRTT is R and RTO three times that", (t) => {
  const rtt = new SmoothedRtt();
  t.equal(rtt.rttMs, null);
  t.equal(rtt.timeoutMs, null);
  rtt.add(40);
  t.equal(rtt.rttMs, 40);
  t.equal(rtt.timeoutMs, 120);
});

test("RFC 6298 §2.3: RTTVAR is updated with the SRTT before the measurement", (t) => {
  const rtt = new SmoothedRtt();
  rtt.add(40); // RTTVAR 20
  rtt.add(80); // RTTVAR 3/4 * 20 + 1/4 * |40 - 80| = 25, SRTT 7/8 * 40 + 1/8 * 80 = 45
  t.equal(rtt.rttMs, 45);
  t.equal(rtt.timeoutMs, 145);
});

test("an even way's RTO comes down to its round trip and the clock's granularity", (t) => {
  const rtt = new SmoothedRtt();
  for (let n = 0; n < 100; n++) rtt.add(40);
  t.equal(rtt.timeoutMs, 41);
});
