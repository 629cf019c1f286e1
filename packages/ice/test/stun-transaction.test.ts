import { test } from "@adit/harness";
import { StunBuilder } from "../src/stun/builder.ts";
import { decodeStun, type StunClass } from "../src/stun/message.ts";
import { STUN_METHOD } from "../src/stun/tables.ts";
import { StunTransaction, StunTransactions } from "../src/stun/transaction.ts";

const id = (n: number) => new Uint8Array(12).fill(n);
const message = (messageClass: StunClass, n: number, method: number = STUN_METHOD.BINDING) =>
  new StunBuilder(messageClass, method, id(n)).build();

test("RFC 8489 §6.2.1: requests at 0, 500, 1500, 3500, 7500, 15500 and 31500 ms; failed at 39500 ms", (t) => {
  const transaction = new StunTransaction(0);
  const sent = [0];
  for (;;) {
    const at = transaction.deadline;
    t.equal(transaction.handleTimeout(at - 0.001), "wait");
    const verdict = transaction.handleTimeout(at);
    if (verdict === "timed-out") {
      t.equal(at, 39_500);
      break;
    }
    t.equal(verdict, "retransmit");
    sent.push(at);
  }
  t.same(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
  t.equal(transaction.requestsSent, 7);
});

test("a single request waits Rm times the RTO", (t) => {
  const transaction = new StunTransaction(100, { maxRequests: 1, rtoMs: 50, lastWaitFactor: 4 });
  t.equal(transaction.deadline, 300);
  t.equal(transaction.handleTimeout(300), "timed-out");
});

test("after a pause of the whole machine one request is sent, not those that were missed", (t) => {
  const transaction = new StunTransaction(0);
  t.equal(transaction.handleTimeout(20_000), "retransmit");
  t.equal(transaction.handleTimeout(20_000), "wait");
  t.equal(transaction.deadline, 21_000);
});

test("transactions: retransmits each by its own timer, and reports the failed one with its context", (t) => {
  const transactions = new StunTransactions<string>();
  const drain = () => {
    const sent: string[] = [];
    for (let next = transactions.pollTransmit(); next; next = transactions.pollTransmit()) sent.push(next.context);
    return sent;
  };
  transactions.start(0, message("request", 1), "a");
  transactions.start(200, message("request", 2), "b", { maxRequests: 2, lastWaitFactor: 1 });
  t.same(drain(), ["a", "b"]);
  t.equal(transactions.pollTimeout()?.at, 500);
  t.same(transactions.handleTimeout(500), []);
  t.same(drain(), ["a"]);
  t.equal(transactions.pollTimeout()?.at, 700);
  transactions.handleTimeout(700);
  t.same(drain(), ["b"]);
  t.same(
    transactions.handleTimeout(1200).map(({ context }) => context),
    ["b"],
  );
  t.equal(transactions.size, 1);
  t.equal(transactions.get(id(2)), null);
});

test("transactions: a response matches by transaction ID and method, until the request is finished", (t) => {
  const transactions = new StunTransactions<string>();
  const pending = t.must(transactions.start(0, message("request", 1), "a"));
  const decoded = (messageClass: StunClass, n: number, method?: number) =>
    t.must(decodeStun(message(messageClass, n, method)));
  t.equal(transactions.match(decoded("success", 1)), pending);
  t.equal(transactions.match(decoded("error", 1)), pending);
  t.equal(transactions.match(decoded("success", 2)), null);
  t.equal(transactions.match(decoded("success", 1, STUN_METHOD.ALLOCATE)), null);
  t.equal(transactions.match(decoded("request", 1)), null);
  t.equal(transactions.match(decoded("indication", 1)), null);
  transactions.finish(pending);
  t.equal(transactions.match(decoded("success", 1)), null);
  t.equal(transactions.pollTimeout(), null);
  t.equal(transactions.pollTransmit(), null, "a finished request is not sent any more");
});

test("transactions: the limit refuses, and what is refused is not sent", (t) => {
  const transactions = new StunTransactions<number>(2);
  for (let n = 0; n < 2; n++) t.ok(transactions.start(0, message("request", n), n));
  t.equal(transactions.start(0, message("request", 2), 2), null);
  t.equal(transactions.size, 2);
});

test("transactions: resend begins the schedule anew with the same bytes", (t) => {
  const transactions = new StunTransactions<string>();
  const pending = t.must(transactions.start(0, message("request", 1), "a"));
  transactions.pollTransmit();
  transactions.handleTimeout(500);
  transactions.handleTimeout(1500);
  t.equal(transactions.pollTransmit(), pending);
  transactions.resend(2000, pending);
  t.equal(transactions.pollTransmit(), pending);
  t.equal(transactions.pollTransmit(), null);
  t.equal(transactions.pollTimeout()?.at, 2500);
});
