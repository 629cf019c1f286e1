/** How this side ended a stream that is over in both directions; see `takeEnded` of the connection. */
export interface StreamEnding {
  readonly id: number;
  /** All that was written to it. */
  readonly sentBytes: number;
  /** The code it was reset with; null: it was finished. */
  readonly resetCode: number | null;
}
