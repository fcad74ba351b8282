// Our own JSON in JPEG and WebP files, as one property of an XMP packet (ISO 16684-1): EXIF has no second field for
// long text that other tools leave alone, and UserComment belongs to the infotext.

const namespace = 'urn:mole-atelier:metadata:1#';

/** An XMP packet (UTF-8, in fact ASCII) that holds `json` as the property mole:state. */
export function encodeXmp(json: string): Uint8Array {
  // JSON may write any character as \uXXXX, so no character is left that XML or an old reader could refuse.
  const ascii = json.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const escaped = ascii.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return Buffer.from(
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>' +
      '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
      `<rdf:Description rdf:about="" xmlns:mole="${namespace}"><mole:state>${escaped}</mole:state></rdf:Description>` +
      '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>',
    'utf8',
  );
}

/** The JSON that encodeXmp put in, also after a tool has rewritten the property as an attribute; undefined if none. */
export function readXmp(packet: Uint8Array): string | undefined {
  const xml = Buffer.from(packet.buffer, packet.byteOffset, packet.byteLength).toString('utf8');
  if (!xml.includes(namespace)) return undefined;
  const found = /<mole:state>([^<]*)<\/mole:state>|\smole:state=(?:"([^"]*)"|'([^']*)')/.exec(xml);
  return found === null ? undefined : unescape(found[1] ?? found[2] ?? found[3]!);
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescape(text: string): string {
  return text.replace(
    /&(?:([a-z]{2,4})|#(\d{1,7})|#x([\da-fA-F]{1,6}));/g,
    (whole, name?: string, dec?: string, hex?: string) => {
      if (name !== undefined) return Object.hasOwn(entities, name) ? entities[name]! : whole;
      const code = hex === undefined ? Number(dec) : parseInt(hex, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}
