/** What every store of names does, whatever it keeps them in. */
import { type T, test } from "@adit/harness";
import { MAX_NAMES_PER_KEY, type NameStore } from "../src/names/name-store.ts";

export const OWNER = "o".repeat(52);
export const OTHER = "p".repeat(52);

export function nameStoreContract(kind: string, open: (t: T) => NameStore): void {
  test(`names in ${kind}: the first key owns a name, and no other gets it`, async (t) => {
    const store = open(t);
    t.same(store.take("office", OWNER, 1), { is: "owned", fresh: true });
    t.same(store.take("office", OWNER, 2), { is: "owned", fresh: false });
    t.same(store.take("office", OTHER, 3), { is: "foreign", peerId: OWNER });
    t.equal(store.ownerOf("office"), OWNER);
    t.equal(store.ownerOf("lab"), null);
  });

  test(`names in ${kind}: released, a name is anybody's; transferred, it is the new key's`, async (t) => {
    const store = open(t);
    store.take("office", OWNER, 1);
    t.equal(store.release("office")?.peerId, OWNER);
    t.equal(store.release("office"), null);
    t.same(store.take("office", OTHER, 2), { is: "owned", fresh: true });
    t.equal(store.transfer("office", OWNER, 3), OTHER);
    t.equal(store.transfer("lab", OTHER, 3), null, "one that nobody has can be reserved");
    t.same(store.take("office", OTHER, 4), { is: "foreign", peerId: OWNER });
    t.same(
      store.list().map(({ name, peerId }) => [name, peerId]),
      [
        ["lab", OTHER],
        ["office", OWNER],
      ],
    );
  });

  test(`names in ${kind}: a key owns a bounded number`, async (t) => {
    const store = open(t);
    for (let i = 0; i < MAX_NAMES_PER_KEY; i++) t.equal(store.take(`name-${i}`, OWNER, i).is, "owned");
    t.same(store.take("one-more", OWNER, 99), { is: "too-many", limit: "names-of-key" });
    t.same(store.take("name-3", OWNER, 99), { is: "owned", fresh: false }, "its own it may still use");
    t.equal(store.take("one-more", OTHER, 99).is, "owned");
  });
}
