import { nullLogger, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { Directory } from "../src/directory.ts";

const client = (peerId: string) => ({ peerId, observed: SocketAddress.of("9.9.9.9", 1_000) });

test("a client is found by its name and by its key, under its newest name alone", (t) => {
  const directory = new Directory<ReturnType<typeof client>>(nullLogger);
  const office = client("a");
  directory.enter(1, office, "office");
  directory.enter(2, office, "lab");
  t.equal(directory.find("lab"), office);
  t.equal(directory.find("a"), office);
  t.equal(directory.find("office"), null);
  t.same(directory.registrations(), [{ name: "lab", peerId: "a", address: office.observed, since: 2 }]);
  directory.remove(office);
  t.equal(directory.find("lab"), null);
  t.equal(directory.nameOf("a"), null);
});

test("who leaves takes neither its key's new connection along, nor the next owner of its name", (t) => {
  const directory = new Directory<ReturnType<typeof client>>(nullLogger);
  const [older, newer, heir] = [client("a"), client("a"), client("b")];
  directory.enter(1, older, "office");
  directory.remove(older);
  directory.enter(2, newer, "office");
  directory.remove(older);
  t.equal(directory.find("office"), newer);
  directory.enter(3, heir, "office");
  directory.remove(newer);
  t.equal(directory.find("office"), heir);
  t.equal(directory.find("a"), null);
});
