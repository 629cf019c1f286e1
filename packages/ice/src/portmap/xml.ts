/** An element without its attributes: routers' descriptions and SOAP answers carry what matters in text. */
export interface XmlElement {
  /** Without the namespace's prefix, which every router chooses by itself. */
  readonly name: string;
  /** Its own text, references resolved, trimmed. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** Deeper or longer documents are no router's. */
const MAX_DEPTH = 32;
const MAX_ELEMENTS = 4_000;

interface Open {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

/**
 * Reads as much XML as UPnP speaks: elements, text, comments, CDATA, the predefined and the numeric references. Null for what is
 * not well formed, exceeds the bounds, or declares a document type (which could define entities; UPnP has no use for them).
 */
export function parseXml(source: string): XmlElement | null {
  const stack: Open[] = [{ name: "", text: "", children: [] }];
  let elements = 0;
  for (let at = 0; at < source.length; ) {
    const top = stack.at(-1) as Open;
    const open = source.indexOf("<", at);
    if (open < 0) {
      if (source.slice(at).trim() !== "") return null;
      break;
    }
    top.text += resolve(source.slice(at, open));
    const skipped = skipMarkup(source, open, top);
    if (skipped === null) return null;
    if (skipped > open) {
      at = skipped;
      continue;
    }
    const tag = /^<(\/?)([A-Za-z_][\w.:-]{0,127})(\s(?:[^<>"']|"[^"<]*"|'[^'<]*')*)?(\/?)>/.exec(
      source.slice(open, open + MAX_TAG),
    );
    if (!tag) return null;
    at = open + tag[0].length;
    const name = (tag[2] as string).split(":").at(-1) as string;
    const closes = tag[1] === "/";
    if (closes) {
      if (stack.length === 1 || top.name !== name) return null;
      close(stack);
    } else {
      if (++elements > MAX_ELEMENTS || stack.length > MAX_DEPTH) return null;
      stack.push({ name, text: "", children: [] });
      if (tag[4] === "/" || tag[3]?.endsWith("/")) close(stack);
    }
  }
  const root = stack[0] as Open;
  return stack.length === 1 && root.children.length === 1 ? (root.children[0] as XmlElement) : null;
}

/** No tag with its attributes is longer. */
const MAX_TAG = 2_048;

/** Behind a comment, a processing instruction or CDATA (whose text is kept); `open` where none begins; null where one does not end. */
function skipMarkup(source: string, open: number, top: Open): number | null {
  const behind = (end: string, from: number): number | null => {
    const found = source.indexOf(end, from);
    return found < 0 ? null : found + end.length;
  };
  if (source.startsWith("<!--", open)) return behind("-->", open + 4);
  if (source.startsWith("<?", open)) return behind("?>", open + 2);
  if (source.startsWith("<![CDATA[", open)) {
    const end = behind("]]>", open + 9);
    if (end !== null) top.text += source.slice(open + 9, end - 3);
    return end;
  }
  return source.startsWith("<!", open) ? null : open;
}

function close(stack: Open[]): void {
  const { name, text, children } = stack.pop() as Open;
  (stack.at(-1) as Open).children.push({ name, text: text.trim(), children });
}

const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function resolve(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#x([\da-fA-F]{1,6})|(\w{1,8}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

export const escapeXml = (text: string): string =>
  text.replace(/[<>&"']/g, (char) => `&${Object.entries(NAMED).find(([, one]) => one === char)?.[0]};`);

/** All elements of that name, the element itself included, in the document's order. */
export function* elementsNamed(root: XmlElement, name: string): Generator<XmlElement> {
  if (root.name === name) yield root;
  for (const child of root.children) yield* elementsNamed(child, name);
}

/** The text of the first child of that name; null when there is none. */
export const childText = (element: XmlElement, name: string): string | null =>
  element.children.find((child) => child.name === name)?.text ?? null;
