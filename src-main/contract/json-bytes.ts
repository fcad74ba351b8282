// Messages as JSON text for a WebSocket. JSON has no bytes, so a Uint8Array (a preview's pixels) travels as base64 in an object
// with one field that no message uses otherwise.
const field = '$bytes';
const chunk = 0x8000;

/** `message` as JSON. */
export function toJson(message: unknown): string {
  return JSON.stringify(message, (_, value: unknown) =>
    value instanceof Uint8Array ? { [field]: toBase64(value) } : value,
  );
}

/** The message of `text`. Throws a SyntaxError when it is not JSON. */
export function fromJson(text: string): unknown {
  return JSON.parse(text, (_, value: unknown) => {
    if (typeof value !== 'object' || value === null || !(field in value)) return value;
    const bytes = value[field];
    return typeof bytes === 'string' ? fromBase64(bytes) : value;
  });
}

function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let i = 0; i < bytes.length; i += chunk) binary += String.fromCharCode(...bytes.subarray(i, i + chunk));
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
