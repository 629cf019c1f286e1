import type { ByteStream } from "@adit/program";
import type { SessionPath } from "@adit/transport";

/** A stream to a service that sends back what it gets, and ends when it is ended. */
export class EchoStream implements ByteStream {
  onReadable: (() => void) | null = null;
  onWritable: (() => void) | null = null;
  onClosed: ((error: Error | null) => void) | null = null;
  resetBy: number | null = null;
  #held: Uint8Array[] = [];
  #finished = false;

  /** Written and not read yet. */
  get heldBytes(): number {
    return this.#held.reduce((sum, { length }) => sum + length, 0);
  }

  read(into: Uint8Array): number | "blocked" | "end" {
    const first = this.#held[0];
    if (!first) return this.#finished ? "end" : "blocked";
    const length = Math.min(into.length, first.length);
    into.set(first.subarray(0, length));
    if (length < first.length) this.#held[0] = first.subarray(length);
    else this.#held.shift();
    return length;
  }

  write(data: Uint8Array): number {
    this.#held.push(data.slice());
    setImmediate(() => this.onReadable?.());
    return data.length;
  }

  finish(): void {
    this.#finished = true;
    setImmediate(() => this.onReadable?.());
  }

  reset(code: number): void {
    this.resetBy = code;
  }

  stopSending(_code: number): void {}
}

/** A session whose end the test decides. */
export class FakeSession {
  readonly id: string;
  readonly peer: { readonly id: string; readonly name: string | null };
  readonly closed: Promise<{ code: string; reason: string }>;
  path: SessionPath = "direct";
  isOver = false;
  closeReason: string | null = null;
  readonly opened: string[] = [];
  open: (service: string, onRequested: (stream: ByteStream) => void) => Promise<ByteStream> = async () =>
    new EchoStream();
  readonly retiring: Promise<void>;
  retire: () => void = () => {};
  #end: (end: { code: string; reason: string }) => void = () => {};

  constructor(id = "1", peer: { id: string; name: string | null } = { id: "peer", name: "office" }) {
    this.id = id;
    this.peer = peer;
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.retiring = new Promise((resolve) => {
      this.retire = resolve;
    });
  }

  async openService(name: string, onRequested: (stream: ByteStream) => void = () => {}): Promise<ByteStream> {
    this.opened.push(name);
    return this.open(name, onRequested);
  }

  close(reason = "closed"): void {
    this.closeReason = reason;
    this.end(reason);
  }

  end(reason: string): void {
    this.isOver = true;
    this.#end({ code: "closed", reason });
  }
}

/** Lets everything that is ready run. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
