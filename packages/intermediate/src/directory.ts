/** Who is registered, under which name: a name has one client, and so has a key. */
import type { Logger, Millis, SocketAddress } from "@adit/core";

export interface Registration {
  readonly name: string;
  readonly peerId: string;
  readonly address: SocketAddress;
  /** When, on the monotonic clock. */
  readonly since: Millis;
}

interface Registrant {
  /** Proved by its certificate. */
  readonly peerId: string;
  readonly observed: SocketAddress;
}

interface Entry<Client> {
  readonly name: string;
  readonly client: Client;
  readonly since: Millis;
}

/** No larger than the table of connections: each has one name at most. */
export class Directory<Client extends Registrant> {
  readonly #log: Logger;
  readonly #byName = new Map<string, Entry<Client>>();
  readonly #byPeer = new Map<string, Entry<Client>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Whom a name or a key leads to. */
  find(target: string): Client | null {
    return (this.#byName.get(target) ?? this.#byPeer.get(target))?.client ?? null;
  }

  /** Who is registered with that key. */
  of(peerId: string): Client | null {
    return this.#byPeer.get(peerId)?.client ?? null;
  }

  /** The name that the key is registered under; null when it is not. */
  nameOf(peerId: string): string | null {
    return this.#byPeer.get(peerId)?.name ?? null;
  }

  /** A snapshot. */
  entries(): readonly Entry<Client>[] {
    return [...this.#byName.values()];
  }

  registrations(): readonly Registration[] {
    return this.entries().map(({ name, client, since }) => ({
      name,
      peerId: client.peerId,
      address: client.observed,
      since,
    }));
  }

  /** Registers the client under that name, which is its own, in place of the one that it had. */
  enter(now: Millis, client: Client, name: string): void {
    this.remove(client);
    const entry = { name, client, since: now };
    this.#byName.set(name, entry);
    this.#byPeer.set(client.peerId, entry);
    this.#log.info("peer-registered", { name, peerId: client.peerId, address: client.observed.key });
  }

  /** Takes the client out; another one of the same key stays. */
  remove(client: Client): void {
    const { peerId } = client;
    const entry = this.#byPeer.get(peerId);
    if (entry?.client !== client) return;
    // Another key may have been given the name meanwhile.
    if (this.#byName.get(entry.name) === entry) this.#byName.delete(entry.name);
    this.#byPeer.delete(peerId);
    this.#log.info("peer-unregistered", { name: entry.name, peerId });
  }
}
