import { parseSocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { bindError, isIcmpError } from "../src/udp/errors.ts";

test("each reason why a bind fails has its code and a sentence that names the address and the way out", (t) => {
  const table: [system: string, address: string, code: string, message: RegExp][] = [
    ["EADDRINUSE", "127.0.0.1:4433", "address-in-use", /127\.0\.0\.1:4433 is in use.*another port \(0 /],
    [
      "EADDRNOTAVAIL",
      "192.0.2.1:1",
      "address-not-available",
      /192\.0\.2\.1 is not an address of this machine.*0\.0\.0\.0/,
    ],
    ["EADDRNOTAVAIL", "[2001:db8::1]:1", "address-not-available", /2001:db8::1 is not an address.*or :: for/],
    ["EAFNOSUPPORT", "[::]:1", "address-not-available", /no IPv6.*\[::\]:1/],
    ["EACCES", "0.0.0.0:53", "permission-denied", /port 53 is privileged: choose one from 1024 up/],
    ["EPERM", "0.0.0.0:5353", "permission-denied", /does not permit.*0\.0\.0\.0:5353/],
    ["EMFILE", "0.0.0.0:5353", "bind-failed", /0\.0\.0\.0:5353 cannot be bound: too many/],
  ];
  for (const [system, address, code, message] of table) {
    const cause = Object.assign(new Error("too many"), { code: system });
    const error = bindError(parseSocketAddress(address), cause);
    t.equal(error.code, code, system);
    t.match(error.message, message);
    t.equal(error.cause, cause);
  }
});

test("what ICMP says is told from what the system refuses", (t) => {
  for (const code of ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EMSGSIZE", "EACCES", "EOPNOTSUPP", "ENOTSUP"])
    t.ok(isIcmpError(code), code);
  for (const code of ["EPERM", "EINVAL", "EAGAIN", "ENOBUFS", "EAFNOSUPPORT", "unknown"])
    t.notOk(isIcmpError(code), code);
});
