// Text that travels with a picture: A1111's infotext, so that every gallery shows the settings, and beside it our own
// full state as JSON. PNG: `parameters` and `mole`; JPEG and WebP: EXIF UserComment, and XMP mole:state.
// Reading understands those, the same written by A1111 or its relatives, and ComfyUI's graphs. Everything read is
// hostile until shown otherwise: sizes, depths and counts are bounded, and nothing here throws.
import { JsonError, parseBoundedJson } from './bounded-json.ts';
import { readComfyui, type ComfyuiLora } from './comfyui.ts';
import { encodeExif, readExif } from './exif.ts';
import { parseInfotext, type GenerationParameters } from './infotext.ts';
import { findInJpeg, findInWebp, insertIntoJpeg, insertIntoWebp, type TextBlocks } from './picture-containers.ts';
import { nameOf, readPictureBytes, sniffFormat, type PictureSource } from './picture-file.ts';
import { insertPngText, readPngText } from './png-text.ts';
import { encodeXmp, readXmp } from './xmp.ts';

/** What is written with a picture. */
export interface PictureMetadata {
  /** A1111's text, from formatInfotext. */
  readonly infotext: string;
  /** Our whole state: any value JSON can hold; undefined for a picture of another program. */
  readonly mole: unknown;
}

/** A file format that pictures are saved in. */
export type PictureFormat = 'png' | 'jpeg' | 'webp';

/** What was found in a picture, most telling first: our own state, an infotext, a ComfyUI graph, nothing. */
export type FoundMetadata =
  | {
      readonly kind: 'mole';
      /** Our JSON, parsed but not validated: its reader checks it against a schema. */
      readonly mole: unknown;
      /** The A1111 fields beside it, if there. */
      readonly infotext: string | undefined;
      readonly parameters: GenerationParameters | undefined;
      readonly warnings: readonly string[];
    }
  | {
      readonly kind: 'a1111';
      readonly infotext: string;
      readonly parameters: GenerationParameters;
      readonly warnings: readonly string[];
    }
  | {
      readonly kind: 'comfyui';
      readonly parameters: GenerationParameters;
      readonly loras: readonly ComfyuiLora[];
      readonly warnings: readonly string[];
    }
  | { readonly kind: 'none'; readonly warnings: readonly string[] };

/** Longest infotext parsed, in characters. */
const longestInfotext = 2 ** 20;
const jsonLimits = { mostLength: 16 * 2 ** 20, mostDepth: 100 } as const;

/**
 * A copy of an encoded picture with `metadata` in it; its pixels' bytes stay as they are. `size` in pixels. Throws
 * PictureError ('metadata-too-large') where JPEG cannot hold it.
 */
export function embedMetadata(
  bytes: Uint8Array,
  format: PictureFormat,
  size: { readonly width: number; readonly height: number },
  { infotext, mole }: PictureMetadata,
): Uint8Array {
  const json = mole === undefined ? undefined : JSON.stringify(mole);
  if (format === 'png') {
    return insertPngText(bytes, [
      { keyword: 'parameters', text: infotext },
      ...(json === undefined ? [] : [{ keyword: 'mole', text: json, form: 'iTXt' } as const]),
    ]);
  }
  const blocks = { exif: encodeExif(infotext), xmp: json === undefined ? undefined : encodeXmp(json) };
  return format === 'jpeg' ? insertIntoJpeg(bytes, blocks) : insertIntoWebp(bytes, blocks, size);
}

/** Finds the settings in a PNG, JPEG or WebP file. Never throws: what stands in the way is said in `warnings`. */
export async function readMetadata(source: PictureSource): Promise<FoundMetadata> {
  const warnings: string[] = [];
  try {
    const texts = collectTexts(await readPictureBytes(source), warnings);
    return { ...understand(texts, warnings), warnings };
  } catch (error) {
    warnings.push(error instanceof Error ? error.message : `${nameOf(source)} cannot be read.`);
    return { kind: 'none', warnings };
  }
}

/** Keyword -> text, under the keywords of PNG whatever the file format. */
function collectTexts(bytes: Uint8Array, warnings: string[]): ReadonlyMap<string, string> {
  const format = sniffFormat(bytes);
  if (format === undefined) {
    warnings.push('Settings are read from PNG, JPEG and WebP files; this is none of them.');
    return new Map();
  }
  if (format === 'png') {
    const found = readPngText(bytes);
    warnings.push(...found.warnings);
    return new Map([...textsOfBlocks({ exif: found.exif }), ...found.texts]);
  }
  return textsOfBlocks(format === 'jpeg' ? findInJpeg(bytes) : findInWebp(bytes));
}

function textsOfBlocks({ exif, xmp }: TextBlocks): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  const found = exif && readExif(exif);
  if (found?.userComment !== undefined && found.userComment.trim() !== '') texts.set('parameters', found.userComment);
  for (const text of found?.texts ?? []) {
    // ComfyUI's WebP: the keyword, a colon, the JSON, in EXIF tags meant for the camera's name.
    const match = /^(prompt|workflow):\s*(?=\{)/i.exec(text);
    if (match !== null) texts.set(match[1]!.toLowerCase(), text.slice(match[0].length));
  }
  const json = xmp && readXmp(xmp);
  if (json !== undefined) texts.set('mole', json);
  return texts;
}

type Understood = FoundMetadata extends infer F ? (F extends unknown ? Omit<F, 'warnings'> : never) : never;

function understand(texts: ReadonlyMap<string, string>, warnings: string[]): Understood {
  const infotext = readableInfotext(texts.get('parameters'), warnings);
  const mole = jsonUnder('mole', texts, warnings, false);
  if (mole !== undefined)
    return { kind: 'mole', mole, infotext, parameters: infotext && parseInfotext(infotext) } as Understood;
  if (infotext !== undefined) return { kind: 'a1111', infotext, parameters: parseInfotext(infotext) };
  for (const keyword of ['prompt', 'workflow']) {
    const settings = readComfyui(jsonUnder(keyword, texts, warnings, true));
    if (settings === undefined) continue;
    warnings.push(...settings.warnings);
    return { kind: 'comfyui', parameters: settings.parameters, loras: settings.loras };
  }
  const others = [...texts.keys()].map((keyword) => keyword.replace(/[^\w .-]/g, '?').slice(0, 40));
  if (others.length > 0) {
    warnings.push(`The picture holds text that is not understood, under ${others.slice(0, 10).join(', ')}.`);
  }
  return { kind: 'none' };
}

function readableInfotext(text: string | undefined, warnings: string[]): string | undefined {
  if (text === undefined) return text;
  if (/^\s*\{\s*"/.test(text)) {
    warnings.push('The settings are JSON of a program that is not understood (SwarmUI and Fooocus write such).');
    return undefined;
  }
  if (text.length <= longestInfotext) return text;
  warnings.push(
    `The settings text has ${text.length} characters and is left out; at most ${longestInfotext} are read.`,
  );
  return undefined;
}

function jsonUnder(
  keyword: string,
  texts: ReadonlyMap<string, string>,
  warnings: string[],
  longIntegersAsText: boolean,
): unknown {
  const text = texts.get(keyword);
  if (text === undefined) return undefined;
  try {
    return parseBoundedJson(text, { ...jsonLimits, longIntegersAsText });
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    warnings.push(`The text under "${keyword}" is left out: ${error.message}`);
    return undefined;
  }
}
