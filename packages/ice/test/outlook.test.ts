import { test } from "@adit/harness";
import { canConnectDirectly, type NatKind } from "@adit/sim";
import { type Outlook, outlookOf } from "../src/nat/outlook.ts";

const KINDS: readonly NatKind[] = (["EIM", "ADM", "APDM"] as const).flatMap((mapping) =>
  (["EIF", "ADF", "APDF"] as const).map((filtering) => ({ mapping, filtering })),
);

/** What each word promises. */
const PROMISE: Readonly<Record<Outlook, (other: NatKind) => boolean>> = {
  all: () => true,
  most: ({ mapping }) => mapping === "EIM",
  few: ({ mapping, filtering }) => mapping === "EIM" && filtering !== "APDF",
  none: () => false,
};

test("the outlook of each kind of NAT is what the oracle says, for each kind of the other side", (t) => {
  for (const mine of KINDS) {
    const promise = PROMISE[outlookOf(mine.mapping, mine.filtering)];
    for (const other of KINDS) {
      const direct = canConnectDirectly(mine, other);
      const words = `${mine.mapping}/${mine.filtering} with ${other.mapping}/${other.filtering}`;
      // Where neither side maps endpoint-independently, some pairs of ADM meet: more than is promised.
      if (mine.mapping === "ADM" && other.mapping !== "EIM") t.ok(direct || !promise(other), words);
      else if (other.mapping === "ADM" && mine.mapping === "APDM") t.ok(direct || !promise(other), words);
      else t.equal(promise(other), direct, words);
    }
  }
});

test("what is not known counts as the worst", (t) => {
  t.equal(outlookOf("EIM", null), "most");
  t.equal(outlookOf(null, "EIF"), "few");
});
