/** What Hello says this program is. */
export const AGENT_TEXT = "adit/0.1.0";
