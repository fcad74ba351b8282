// Styles made by image processing of the drawings: unlike drawn sets, they have a true answer for every subject, and for two styles
// at once (a pixel-art ink drawing). Plain arithmetic on RGB, the same for every run.
import sharp from 'sharp';

export const processedStyles = ['pixel', 'blueprint', 'dusk'] as const;
export type ProcessedStyle = (typeof processedStyles)[number];

interface Picture {
  readonly side: number;
  /** RGB, rows from the top. */
  readonly rgb: Uint8Array;
}

/** Cells of a pixel-art picture along a side. */
const cells = 16;
/** Colours of a blueprint. */
const paper = [28, 72, 148] as const;
const line = [226, 238, 252] as const;
/** Colours from black over grey to white. */
const dusk = [
  [44, 18, 84],
  [206, 74, 98],
  [255, 226, 180],
] as const;

/** The square drawing at `path` in `style`, as a PNG. */
export async function processed(path: string | Buffer, style: ProcessedStyle): Promise<Buffer> {
  const { data, info } = await sharp(path)
    .flatten({ background: '#ffffff' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const picture = { side: info.width, rgb: new Uint8Array(data) };
  const rgb = { pixel, blueprint, dusk: duotone }[style](picture);
  return sharp(rgb, { raw: { width: picture.side, height: picture.side, channels: 3 } })
    .png()
    .toBuffer();
}

/** Cells of one colour: the mean of what they cover, in steps of a sixth of full brightness. */
function pixel({ side, rgb }: Picture): Uint8Array {
  const out = new Uint8Array(rgb.length);
  const size = side / cells;
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      for (let channel = 0; channel < 3; channel++) {
        const at = (y: number, x: number): number => ((row * size + y) * side + column * size + x) * 3 + channel;
        let sum = 0;
        for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) sum += rgb[at(y, x)]!;
        const level = Math.round((Math.round((sum / (size * size) / 255) * 6) / 6) * 255);
        for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) out[at(y, x)] = level;
      }
    }
  }
  return out;
}

/** Light lines on blue where colours change, by Sobel's operator over all channels. */
function blueprint({ side, rgb }: Picture): Uint8Array {
  const out = new Uint8Array(rgb.length);
  const at = (y: number, x: number, channel: number): number => {
    const [row, column] = [Math.min(side - 1, Math.max(0, y)), Math.min(side - 1, Math.max(0, x))];
    return rgb[(row * side + column) * 3 + channel]!;
  };
  const near = [-2, 0, 2] as const;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      let energy = 0;
      for (let channel = 0; channel < 3; channel++) {
        let [dx, dy] = [0, 0];
        near.forEach((step, i) => {
          const share = i === 1 ? 2 : 1;
          dx += share * (at(y + step, x + 2, channel) - at(y + step, x - 2, channel));
          dy += share * (at(y + 2, x + step, channel) - at(y - 2, x + step, channel));
        });
        energy += dx * dx + dy * dy;
      }
      const strength = Math.min(1, Math.max(0, (Math.sqrt(energy) - 60) / 260));
      for (let c = 0; c < 3; c++)
        out[(y * side + x) * 3 + c] = Math.round(paper[c]! + (line[c]! - paper[c]!) * strength);
    }
  }
  return out;
}

/** Brightness as a colour between violet, red and cream. */
function duotone({ rgb }: Picture): Uint8Array {
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const brightness = (0.299 * rgb[i]! + 0.587 * rgb[i + 1]! + 0.114 * rgb[i + 2]!) / 255;
    const place = Math.min(1.999, brightness * 2);
    const [from, to] = [dusk[Math.floor(place)]!, dusk[Math.floor(place) + 1]!];
    const share = place - Math.floor(place);
    for (let c = 0; c < 3; c++) out[i + c] = Math.round(from[c]! + (to[c]! - from[c]!) * share);
  }
  return out;
}
