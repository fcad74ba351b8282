// Draws icon.svg in the sizes and containers that systems ask for: `node assets/icon/make-icons.mjs`. Linux takes a folder of PNGs,
// Windows an .ico, macOS an .icns; both containers may hold PNGs as they are, so no further tool is needed.
// https://learn.microsoft.com/windows/win32/menurc/newheader, https://en.wikipedia.org/wiki/Apple_Icon_Image_format
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';

const here = import.meta.dirname;
const drawing = join(here, 'icon.svg');

/** A PNG of size x size pixels. */
const png = (size) =>
  sharp(drawing, { density: (72 * size) / 512 })
    .resize(size, size)
    .png({ compressionLevel: 9, palette: size > 256 })
    .toBuffer();

/** An .ico: a header of 6 bytes, an entry of 16 bytes per picture, then the PNGs. */
function ico(pictures) {
  const head = Buffer.alloc(6 + 16 * pictures.length);
  head.writeUInt16LE(1, 2);
  head.writeUInt16LE(pictures.length, 4);
  let offset = head.length;
  pictures.forEach(({ size, bytes }, i) => {
    const entry = 6 + 16 * i;
    // 0 stands for 256.
    head.writeUInt8(size % 256, entry);
    head.writeUInt8(size % 256, entry + 1);
    head.writeUInt16LE(1, entry + 4);
    head.writeUInt16LE(32, entry + 6);
    head.writeUInt32LE(bytes.length, entry + 8);
    head.writeUInt32LE(offset, entry + 12);
    offset += bytes.length;
  });
  return Buffer.concat([head, ...pictures.map(({ bytes }) => bytes)]);
}

/** An .icns: `icns` and the whole length, then per picture its type, its length with this header, and the PNG. */
function icns(pictures) {
  const parts = pictures.map(({ type, bytes }) => Buffer.concat([Buffer.from(type), uint32(bytes.length + 8), bytes]));
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from('icns'), uint32(body.length + 8), body]);
}

function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const sizes = [16, 24, 32, 48, 64, 128, 256, 512, 1024];
const of = new Map();
for (const size of sizes) of.set(size, await png(size));
mkdirSync(join(here, 'sizes'), { recursive: true });
for (const size of sizes.filter((size) => size <= 512)) {
  writeFileSync(join(here, 'sizes', `${size}x${size}.png`), of.get(size));
}
writeFileSync(
  join(here, 'icon.ico'),
  ico([16, 24, 32, 48, 64, 128, 256].map((size) => ({ size, bytes: of.get(size) }))),
);
const types = { ic07: 128, ic08: 256, ic09: 512, ic10: 1024, ic11: 32, ic12: 64, ic13: 256, ic14: 512 };
writeFileSync(
  join(here, 'icon.icns'),
  icns(Object.entries(types).map(([type, size]) => ({ type, bytes: of.get(size) }))),
);
