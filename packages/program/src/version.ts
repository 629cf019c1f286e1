/** The version of the three programs; the same as in their package.json. */
export const VERSION = "0.1.0";
