import { type Bell, EPOLLIN, EPOLLOUT, type LinuxCalls } from "./linux-calls.ts";
import { ErrorMemory, MAX_RECEIVED, ReceiveMemory } from "./receive-memory.ts";
import { ReceivedMemory } from "./received-messages.ts";

/** A socket that is read when there is something, by {@link Readiness}. */
export interface Polled {
  /** Something came, can be written, or went wrong (EPOLLIN, EPOLLOUT, EPOLLERR). Never throws. */
  onReady(events: number): void;
}

/** How soon all sockets are looked at again after the system took no request to be told, for want of memory. */
const AGAIN_MS = 10;
/** Entries of an error queue read at one time; the others are read when the kernel tells of them again. */
const MAX_ERRORS_READ = 16;

/**
 * All sockets of our own in this process, and who reads them: an epoll set, and a bell that the runtime's loop hears.
 *
 * The runtime watches no descriptor for us without reading it itself; but it reads an eventfd as any file. The kernel raises that when the
 * epoll set has something ready (one request of asynchronous I/O, IOCB_CMD_POLL, Linux 4.18), once for each time that it is asked: under
 * load all that is ready is read before it is asked again. There is no thread, no polling, and nothing to be done while nothing comes.
 */
export class Readiness {
  readonly calls: LinuxCalls;
  readonly memory: ReceiveMemory;
  /** Looks at what is ready so far. */
  round = 0;
  readonly #errors: ErrorMemory;
  readonly #epoll: number;
  readonly #eventfd: number;
  readonly #bell: Bell;
  readonly #sockets = new Map<number, Polled>();
  /** Whose memory is to be taken back at the end of this round. */
  readonly #ends = new Set<() => void>();
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #closed = false;

  private constructor(calls: LinuxCalls, parts: { epoll: number; eventfd: number; bell: Bell }) {
    this.calls = calls;
    this.memory = new ReceiveMemory(new ReceivedMemory(calls.addressOf, MAX_RECEIVED));
    this.#errors = new ErrorMemory(calls.addressOf);
    this.#epoll = parts.epoll;
    this.#eventfd = parts.eventfd;
    this.#bell = parts.bell;
    this.#reader = Bun.file(this.#eventfd).stream().getReader();
    void this.#listen();
  }

  /** The one of this process, while a socket holds it; null where the system does not have what it takes. */
  static shared(calls: LinuxCalls): Readiness | null {
    shared ??= Readiness.#open(calls);
    return shared;
  }

  static #open(calls: LinuxCalls): Readiness | null {
    const [epoll, eventfd] = [calls.epoll(), calls.eventfd()];
    const bell = epoll < 0 || eventfd < 0 ? null : calls.bell(epoll, eventfd);
    // There are systems that know such requests, but none that waits (gVisor): nobody would ever hear anything.
    if (bell?.arm()) return new Readiness(calls, { epoll, eventfd, bell });
    bell?.close();
    for (const fd of [epoll, eventfd]) if (fd >= 0) calls.close(fd);
    return null;
  }

  /** False when the system does not take it. */
  add(fd: number, socket: Polled): boolean {
    const isTaken = this.calls.watch(this.#epoll, fd);
    if (isTaken) this.#sockets.set(fd, socket);
    else if (this.#sockets.size === 0) this.#close();
    return isTaken;
  }

  /** Whether the socket is to be told when it can be written to. */
  wantDrain(fd: number, wanted: boolean): void {
    this.calls.watchFor(this.#epoll, fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }

  /** The last one closes all. */
  remove(fd: number): void {
    if (!this.#sockets.delete(fd)) return;
    this.calls.unwatch(this.#epoll, fd);
    if (this.#sockets.size === 0) this.#close();
  }

  /** Called by a socket that lends datagrams: at the end of the round this is called, once where several sockets gave the same. */
  tellEnd(onRoundEnd: () => void): void {
    this.#ends.add(onRoundEnd);
  }

  /** Room for at least one datagram; for that a round may end here. */
  makeRoom(): number {
    if (this.memory.room === 0) this.#endRound();
    return this.memory.room;
  }

  /** Tells what ICMP said of datagrams that left that socket's address, as long as `tell` says that it may go on. */
  readErrors(fd: number, tell: (code: string) => boolean): void {
    const { calls } = this;
    for (let i = 0; i < MAX_ERRORS_READ; i++) {
      this.#errors.clear();
      if (!calls.receiveError(fd, this.#errors.header)) {
        // An error without an entry (the socket was aborted, or there was no memory for one) is told of without end until it is taken.
        const code = i === 0 ? calls.pendingError(fd) : null;
        if (code !== null) tell(code);
        return;
      }
      const { errno } = this.#errors;
      if (errno !== null && !tell(calls.errorName(errno))) return;
    }
  }

  async #listen(): Promise<void> {
    while (!this.#closed) {
      const { done } = await this.#reader.read();
      if (this.#closed) return;
      if (done) throw new Error("the runtime no longer reads what tells that datagrams came");
      this.#poll(); // before all else: a lone datagram waits for nothing
    }
  }

  /** A round in each turn of the runtime's loop, as long as there is something; when there is nothing more, the bell. */
  readonly #poll = (): void => {
    if (this.#closed) return;
    if (this.#round() > 0) {
      setImmediate(this.#poll);
      return;
    }
    this.#bell.rang();
    if (!this.#bell.arm()) setTimeout(this.#poll, AGAIN_MS);
  };

  /** Reads what is ready now; how many sockets that were. */
  #round(): number {
    const { calls } = this;
    this.round++;
    const count = calls.ready(this.#epoll);
    for (let i = 0; i < count; i++) this.#sockets.get(calls.readyDescriptor(i))?.onReady(calls.readyEvents(i));
    this.#endRound();
    return count;
  }

  #endRound(): void {
    for (const end of this.#ends) {
      try {
        end();
      } catch (error) {
        // A bug above, which must not stop the reading of all sockets.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    this.#ends.clear();
    this.memory.clear();
  }

  #close(): void {
    this.#closed = true;
    if (shared === this) shared = null;
    this.#bell.close();
    void this.#reader.cancel();
    this.calls.close(this.#eventfd);
    this.calls.close(this.#epoll);
  }
}

let shared: Readiness | null = null;
