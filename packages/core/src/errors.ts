/**
 * The base of every error this project throws: a literal `code` for programs, a sentence for people that says what to do,
 * and the `cause`.
 */
export abstract class AditError extends Error {
  abstract readonly code: string;

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}
