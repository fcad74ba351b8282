// Full-size checkpoints without their gigabytes: a true header before a hole of zeros, which takes no room on disk.
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export type Shapes = Readonly<Record<string, readonly number[]>>;
export type Part = 'unet' | 'vae' | 'text_encoder';

const read = (name: string): unknown =>
  JSON.parse(gunzipSync(readFileSync(new URL(`../golden/data/checkpoints/${name}`, import.meta.url))).toString());

/** Names and shapes of SD 1.5, and of SD 2.1 with the LDM key (and third of it, or -1) of each diffusers name. */
export const sd15Names = read('sd15-names.json.gz') as Record<'diffusers' | 'ldm', Record<Part, Shapes>>;
export const sd2Names = read('sd2-names.json.gz') as {
  readonly diffusers: Record<Part, Shapes>;
  readonly ldm: Record<Part, Readonly<Record<string, readonly [string, number]>>>;
};

/** Writes a safetensors file of zeros with these tensors, all of one 2-byte type. */
export function writeSparse(path: string, shapes: Shapes, metadata: Readonly<Record<string, string>> = {}): string {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const begin = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'F16', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, json]));
  ftruncateSync(file, 8 + json.length + end);
  closeSync(file);
  return path;
}

/** Every tensor of a single-file SD 1.5 checkpoint. */
export const sd15File: Shapes = { ...sd15Names.ldm.unet, ...sd15Names.ldm.text_encoder, ...sd15Names.ldm.vae };

/** Every tensor of a single-file SD 2.1 checkpoint: OpenCLIP has 24 layers, of which diffusers knows 23. */
export function sd2File(): Shapes {
  const shapes: Record<string, readonly number[]> = {};
  for (const part of ['unet', 'vae', 'text_encoder'] as const) {
    const known = sd2Names.diffusers[part];
    for (const [name, [key, third]] of Object.entries(sd2Names.ldm[part])) {
      const shape = known[name] ?? known[name.replace('text_model.', '')] ?? known[`text_model.${name}`];
      if (shape === undefined) continue;
      const [rows, ...rest] = shape;
      shapes[key] = third === -1 ? shape : [rows! * 3, ...rest];
    }
  }
  for (const [key, shape] of Object.entries(shapes)) {
    if (key.includes('.resblocks.22.')) shapes[key.replace('.22.', '.23.')] = shape;
  }
  return shapes;
}
