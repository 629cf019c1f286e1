/** What the tests use of the `stun` package (2.1.0), which has no types of its own. */
declare module "stun" {
  export interface ForeignAttribute {
    readonly type: number;
    readonly value: unknown;
    readonly errorClass?: number;
    readonly reason?: string;
  }

  export interface ForeignMessage {
    readonly type: number;
    readonly transactionId: Buffer;
    readonly count: number;
    getAttribute(type: number): ForeignAttribute | undefined;
    hasAttribute(type: number): boolean;
  }

  export interface ForeignRequest extends ForeignMessage {
    addAttribute(type: number, ...values: unknown[]): unknown;
    addAddress(address: string, port: number): unknown;
    addXorAddress(address: string, port: number): unknown;
    addAlternateServer(address: string, port: number): unknown;
    addUsername(username: string): unknown;
    addError(code: number, reason?: string): unknown;
    addRealm(realm: string): unknown;
    addNonce(nonce: string): unknown;
    addSoftware(software: string): unknown;
    addUnknownAttributes(types: number[]): unknown;
    addPriority(priority: number): unknown;
    addUseCandidate(): unknown;
    addIceControlled(tieBreaker: Buffer): unknown;
    addIceControlling(tieBreaker: Buffer): unknown;
    addMessageIntegrity(key: string): unknown;
    addFingerprint(): unknown;
    toBuffer(): Buffer;
  }

  interface Stun {
    createMessage(type: number, transaction?: Buffer): ForeignRequest;
    decode(message: Buffer): ForeignMessage;
    validateFingerprint(message: ForeignMessage): boolean;
    validateMessageIntegrity(message: ForeignMessage, password: string): boolean;
  }

  const stun: Stun;
  export default stun;
}
