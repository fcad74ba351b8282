// Reference images on their way into training: found, captioned, scaled and cropped, and encoded once. Each picture becomes the
// latent of its crop (and of its mirror image), so that training never looks at a pixel again.
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import { decodePicture, resizeCover, type Picture } from '../formats/png.ts';
import type { FloatTensor } from '../tensor/tensor.ts';
import type { LoadedModel } from './loaded-model.ts';
import { showBytes, trainingActivationBytes } from './memory.ts';
import { fromPixels } from './pixels.ts';

export interface TrainingImage {
  readonly path: string;
  readonly caption: string;
  /** Latents as the UNet sees them [1, C, h, w]: the picture, and mirrored when asked for. */
  readonly latents: readonly FloatTensor[];
  /** `h x w` of the latent: only images alike share a batch. */
  readonly bucket: string;
  /** The stack that it teaches, where a gate learns from several; the first unless given. */
  readonly stack?: number;
}

export interface ImageOptions {
  readonly images: readonly string[];
  readonly caption?: string | undefined;
  /** Put before captions that do not hold it. */
  readonly trigger?: string | undefined;
  readonly resolution: number;
  readonly buckets: boolean;
  readonly mirror: boolean;
}

const pictureEndings = new Set(['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.avif', '.bmp', '.svg']);
const longestCaption = 2000;

/**
 * Finds, reads and encodes the pictures. Files that cannot be read are left out with a warning; none at all is a FailureError
 * 'bad-request'. Captions: `<name>.txt` beside the picture, else `caption` with the
 * picture's own name for each `[name]`, else empty.
 */
export async function loadTrainingImages(
  { images, caption, trigger, resolution, buckets, mirror }: ImageOptions,
  model: LoadedModel,
  {
    warn,
    onImage,
    signal,
  }: {
    readonly warn: (message: string) => void;
    readonly onImage?: (done: number, total: number) => void;
    readonly signal: AbortSignal;
  },
): Promise<readonly TrainingImage[]> {
  const paths = await findPictures(images);
  const found: TrainingImage[] = [];
  for (const [i, path] of paths.entries()) {
    signal.throwIfAborted();
    let picture: Picture;
    try {
      picture = await decodePicture(path);
    } catch (error) {
      warn(`${path} was left out: ${error instanceof Error ? error.message : String(error)}`);
      continue;
    }
    const { width, height } = cropSize(picture, resolution, buckets, sizeStep(model));
    const cropped = await resizeCover(picture, width, height);
    const latents = [await model.encode(fromPixels(cropped))];
    if (mirror) latents.push(await model.encode(fromPixels(mirrored(cropped))));
    const text = await captionOf(path, caption ?? '');
    const [, , h, w] = latents[0]!.shape;
    found.push({
      path,
      caption:
        trigger === undefined || text.includes(trigger)
          ? text
          : [trigger, text].filter((part) => part !== '').join(', '),
      latents,
      bucket: `${h}x${w}`,
    });
    onImage?.(i + 1, paths.length);
  }
  if (found.length === 0) {
    throw new FailureError({
      kind: 'bad-request',
      message: `No picture could be read in ${images.join(', ') || 'nothing'}: give a folder with PNG, JPEG or WebP pictures.`,
    });
  }
  if (found.every((image) => image.caption === '')) {
    warn(
      'No picture has a caption: the prompt will mean nothing to what is learnt. Give --caption, or a .txt file beside each picture.',
    );
  }
  return found;
}

async function findPictures(sources: readonly string[]): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const source of sources) {
    const found = await stat(source).catch(() => undefined);
    if (found === undefined) {
      throw new FailureError({
        kind: 'bad-request',
        file: source,
        message: `${source}: there is no such file or folder. Check the path.`,
      });
    }
    if (!found.isDirectory()) {
      paths.push(source);
      continue;
    }
    const names = await readdir(source, { recursive: true });
    paths.push(
      ...names
        .filter((name) => pictureEndings.has(extname(name).toLowerCase()))
        .sort()
        .map((name) => join(source, name)),
    );
  }
  return paths;
}

/** Pixels that sizes must be multiples of, so that the UNet halves without a rest. */
function sizeStep(model: LoadedModel): number {
  return model.pixelsPerLatent * 2 ** (model.checkpoint.unet.config.blockOutChannels.length - 1);
}

/** The crop of a picture: a square, or the size in steps nearest to its shape with about the same area. */
export function cropSize(
  picture: { readonly width: number; readonly height: number },
  resolution: number,
  buckets: boolean,
  step: number,
): { readonly width: number; readonly height: number } {
  const round = (pixels: number): number => Math.max(step, Math.round(pixels / step) * step);
  const side = round(resolution);
  if (!buckets) return { width: side, height: side };
  // Shapes beyond 1:2 are cropped: such a strip teaches little.
  const aspect = Math.min(2, Math.max(0.5, picture.width / picture.height));
  return { width: round(side * Math.sqrt(aspect)), height: round(side / Math.sqrt(aspect)) };
}

function mirrored({ width, height, rgb }: Picture): Picture {
  const out = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      const to = (y * width + width - 1 - x) * 3;
      out.set(rgb.subarray(from, from + 3), to);
    }
  }
  return { width, height, rgb: out };
}

async function captionOf(path: string, otherwise: string): Promise<string> {
  const text = await readFile(`${path.slice(0, path.length - extname(path).length)}.txt`, 'utf8').catch(
    () => undefined,
  );
  const name = basename(path, extname(path)).replace(/[-_]+/g, ' ');
  return (text ?? otherwise.replaceAll('[name]', name)).trim().slice(0, longestCaption);
}

/** Refuses a training that cannot fit before anything is opened, and says what would fit. Throws FailureError 'out-of-memory'. */
export function checkTrainingMemory(
  images: readonly TrainingImage[],
  model: LoadedModel,
  settings: { readonly batch: number; readonly recompute: boolean },
  availableBytes: number,
): void {
  const { unet, weightBytes } = model.checkpoint;
  const sizes = images.map(({ latents }) => latents[0]!.shape.slice(2) as [number, number]);
  const [height, width] = sizes.reduce((a, b) => (a[0] * a[1] >= b[0] * b[1] ? a : b));
  const weights = weightBytes.unet + weightBytes.textEncoder;
  const needed = weights + trainingActivationBytes(unet.config, height, width, settings);
  if (needed <= availableBytes) return;
  const perLatent = trainingActivationBytes(unet.config, 1, 1, { ...settings, batch: 1 });
  const step = sizeStep(model);
  const fitting = Math.sqrt(Math.max(0, availableBytes - weights) / perLatent) * model.pixelsPerLatent;
  const side = Math.floor(fitting / step) * step;
  const scale = model.pixelsPerLatent;
  throw new FailureError({
    kind: 'out-of-memory',
    message:
      `Training on ${width * scale}x${height * scale} pixels in batches of ${settings.batch} needs about ${showBytes(needed)} of memory, ` +
      `${showBytes(availableBytes)} are free. ` +
      (side >= step
        ? `Pictures of ${side}x${side} one at a time (batch 1) would fit${settings.recompute ? '' : '; recompute needs about half'}.`
        : `The model alone needs ${showBytes(weights)}: close other programs or choose a smaller model.`),
  });
}
