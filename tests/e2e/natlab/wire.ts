/**
 * The lab's wires: pairs of TAP devices, each in its own network namespace, between which this program carries Ethernet
 * frames, with delay, jitter, loss and a rate limit per wire, in both directions alike. (The kernel's own netem is not
 * everywhere.) Order is kept. One thread that sleeps in ppoll(2) until a frame comes or is due.
 *
 *   wire.ts JSON      an array of WireEnds; prints one line `ready`
 */
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { getSystemErrorName } from "node:util";

export interface WireEnds {
  readonly ends: readonly [WireEnd, WireEnd];
  readonly quality: WireQuality;
}

interface WireEnd {
  /** A file that names the network namespace, as in /run/netns. */
  readonly namespace: string;
  readonly device: string;
}

export interface WireQuality {
  readonly delayMs: number;
  readonly jitterMs?: number;
  /** 0 to 1: how many are lost. */
  readonly loss?: number;
  /** How many in a row are lost at a time, 1 if not given. */
  readonly lossBurst?: number;
  /** What does not fit waits for up to {@link MAX_QUEUE_MS}, then the queue's tail is dropped. */
  readonly rateBitsPerS?: number;
  /** IP packets that are longer vanish without a word, */
  readonly maxIpBytes?: number;
  /** from so long after the first one of them on; from the start if not given. */
  readonly shrinksAfterMs?: number;
}

const MAX_FRAME_BYTES = 2048;
/** Frames on the way in one direction; what comes on top is dropped, as by a router whose queue is full. */
const MAX_QUEUED = 4000;
/** Of a wire with a rate limit. */
const MAX_QUEUE_MS = 250;
const ETHERNET_HEADER_BYTES = 14;
const MAX_READS_A_TURN = 64;

const { i32, u64, i64 } = FFIType;
const libc = dlopen("libc.so.6", {
  open: { args: [FFIType.ptr, i32], returns: i32 },
  setns: { args: [i32, i32], returns: i32 },
  ioctl: { args: [i32, u64, FFIType.ptr], returns: i32 },
  ppoll: { args: [FFIType.ptr, u64, FFIType.ptr, FFIType.ptr], returns: i32 },
  read: { args: [i32, FFIType.ptr, u64], returns: i64 },
  write: { args: [i32, FFIType.ptr, u64], returns: i64 },
  close: { args: [i32], returns: i32 },
  __errno_location: { args: [], returns: FFIType.ptr },
}).symbols;

// <fcntl.h>, <sched.h>, <linux/if_tun.h>, <poll.h>
const O_RDONLY = 0;
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const CLONE_NEWNET = 0x40000000;
const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS_AT = 16;
const POLLIN = 1;
const POLLFD_BYTES = 8;

/** Why the last call failed. */
function lastError(): string {
  const at = libc.__errno_location();
  return at === null ? "" : getSystemErrorName(-read.i32(at, 0));
}

function open(path: string, flags: number): number {
  const descriptor = libc.open(ptr(Buffer.from(`${path}\0`)), flags);
  if (descriptor < 0) throw new Error(`${path} cannot be opened by this user: ${lastError()}`);
  return descriptor;
}

/** A TAP device in that namespace. The thread stays there: the next one goes elsewhere by itself. */
function openTap({ namespace, device }: WireEnd): number {
  const network = open(namespace, O_RDONLY);
  if (libc.setns(network, CLONE_NEWNET) !== 0) throw new Error(`${namespace} cannot be entered: ${lastError()}`);
  libc.close(network);
  const descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK); // mode 0666 nearly everywhere; else this takes root
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(device);
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI, IFREQ_FLAGS_AT);
  if (libc.ioctl(descriptor, TUNSETIFF, ptr(request)) !== 0)
    throw new Error(`${device}: no TAP device can be made: ${lastError()}`);
  return descriptor;
}

interface Frame {
  readonly dueMs: number;
  readonly data: Uint8Array;
}

/** One direction of a wire. */
class Direction {
  readonly from: number;
  readonly #to: number;
  readonly #queue: Frame[] = [];
  #head = 0;
  #stillToLose = 0;
  #sentUntilMs = 0;
  #lastDueMs = 0;
  #firstLongMs: number | null = null;
  readonly #quality: WireQuality;

  constructor(from: number, to: number, quality: WireQuality) {
    this.from = from;
    this.#to = to;
    this.#quality = quality;
  }

  /** When the next frame is to leave; Infinity for never. */
  get dueMs(): number {
    return this.#queue[this.#head]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  accept(nowMs: number, frame: Uint8Array): void {
    const { delayMs, jitterMs = 0, rateBitsPerS = Number.POSITIVE_INFINITY } = this.#quality;
    if (this.#swallows(nowMs, frame.length - ETHERNET_HEADER_BYTES)) return;
    if (this.#loses() || this.#queue.length - this.#head >= MAX_QUEUED) return;
    if (this.#sentUntilMs - nowMs > MAX_QUEUE_MS) return;
    this.#sentUntilMs = Math.max(this.#sentUntilMs, nowMs) + (frame.length * 8000) / rateBitsPerS;
    const arrivesMs = this.#sentUntilMs + delayMs + Math.random() * jitterMs;
    this.#lastDueMs = Math.max(this.#lastDueMs, arrivesMs);
    this.#queue.push({ dueMs: this.#lastDueMs, data: frame.slice() });
  }

  #swallows(nowMs: number, ipBytes: number): boolean {
    const { maxIpBytes = Number.POSITIVE_INFINITY, shrinksAfterMs = 0 } = this.#quality;
    if (ipBytes <= maxIpBytes) return false;
    this.#firstLongMs ??= nowMs;
    return nowMs - this.#firstLongMs >= shrinksAfterMs;
  }

  #loses(): boolean {
    const { loss = 0, lossBurst = 1 } = this.#quality;
    if (this.#stillToLose > 0) {
      this.#stillToLose--;
      return true;
    }
    // A burst begins as often as makes the share lost come out right.
    if (Math.random() >= loss / (lossBurst - loss * (lossBurst - 1))) return false;
    this.#stillToLose = lossBurst - 1;
    return true;
  }

  deliver(nowMs: number): void {
    for (let frame = this.#queue[this.#head]; frame && frame.dueMs <= nowMs; frame = this.#queue[++this.#head])
      libc.write(this.#to, ptr(frame.data), frame.data.length); // a device that is down loses it, as a cable would
    if (this.#head > 256 && this.#head * 2 > this.#queue.length) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }
}

const buffer = new Uint8Array(MAX_FRAME_BYTES);
const bufferAt = ptr(buffer);

function receive(direction: Direction): void {
  for (let i = 0; i < MAX_READS_A_TURN; i++) {
    const length = Number(libc.read(direction.from, bufferAt, MAX_FRAME_BYTES));
    if (length <= 0) return;
    direction.accept(performance.now(), buffer.subarray(0, length));
  }
}

const wires: readonly WireEnds[] = JSON.parse(process.argv[2] ?? "[]");
const directions = wires.flatMap(({ ends, quality }) => {
  const [a, b] = [openTap(ends[0]), openTap(ends[1])];
  return [new Direction(a, b, quality), new Direction(b, a, quality)];
});

const polled = Buffer.alloc(POLLFD_BYTES * directions.length);
for (const [index, { from }] of directions.entries()) {
  polled.writeInt32LE(from, POLLFD_BYTES * index);
  polled.writeInt16LE(POLLIN, POLLFD_BYTES * index + 4);
}
const timespec = new BigInt64Array(2);

process.stdout.write("ready\n");
await Bun.sleep(0); // so that the line leaves: below this thread never comes back to the runtime's loop
for (;;) {
  const dueMs = Math.min(...directions.map((direction) => direction.dueMs));
  const waitNs = dueMs === Number.POSITIVE_INFINITY ? 1e9 : Math.max(0, dueMs - performance.now()) * 1e6;
  timespec[0] = BigInt(Math.floor(waitNs / 1e9));
  timespec[1] = BigInt(Math.floor(waitNs % 1e9));
  libc.ppoll(ptr(polled), BigInt(directions.length), ptr(timespec), null);
  directions.forEach((direction, index) => {
    if (polled.readInt16LE(POLLFD_BYTES * index + 6) !== 0) receive(direction);
  });
  const nowMs = performance.now();
  for (const direction of directions) direction.deliver(nowMs);
}
