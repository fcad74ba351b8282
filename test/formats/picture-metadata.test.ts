// Settings read from pictures that Pillow and piexif wrote the way A1111 and ComfyUI do, written the same way to the
// byte, and hostile files that end in a warning.
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readComfyui } from '../../src-main/formats/comfyui.ts';
import { encodeExif, readExif } from '../../src-main/formats/exif.ts';
import { insertIntoJpeg, insertIntoWebp } from '../../src-main/formats/picture-containers.ts';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import { insertPngText, mostTextBytes, readPngText } from '../../src-main/formats/png-text.ts';
import { encodeXmp, readXmp } from '../../src-main/formats/xmp.ts';
import { expected, golden, goldenPath } from './pictures.ts';

describe('readMetadata', () => {
  it.each([
    ['a1111-latin1.png', expected.latin1],
    ['a1111-unicode.png', expected.unicode],
    ['a1111-ztxt.png', expected.latin1],
    ['a1111-compressed-itxt.png', expected.unicode],
    ['a1111-after-idat.png', expected.latin1],
    ['a1111.jpg', expected.unicode],
    ['a1111-ascii.jpg', expected.settings],
    ['a1111-lossy.webp', expected.unicode],
    ['a1111-lossless.webp', expected.unicode],
    ['utf8-comment.jpg', expected.unicode],
    ['little-endian.jpg', expected.unicode],
  ])('finds A1111’s text in %s', async (name, infotext) => {
    const found = await readMetadata(goldenPath(name));
    expect(found).toMatchObject({ kind: 'a1111', infotext, warnings: [] });
    expect(found).toHaveProperty('parameters.loraHashes', [
      { name: 'ink', hash: '0123456789ab' },
      { name: 'wash', hash: 'ba9876543210' },
    ]);
  });

  it.each(['comfyui.png', 'comfyui.webp'])('finds prompt, LoRAs, size and the 64-bit seed in %s', async (name) => {
    expect(await readMetadata(golden(name))).toEqual({
      kind: 'comfyui',
      parameters: {
        prompt: 'a fox, 雪',
        negativePrompt: 'blurry',
        steps: 25,
        sampler: 'DPM++ 2M SDE',
        scheduleType: 'Karras',
        cfgScale: 6.5,
        seed: 18446744073709551557n,
        size: { width: 512, height: 768 },
        model: 'dreamshaper_8',
        clipSkip: 2,
        rng: 'CPU',
      },
      loras: [
        { name: 'ink.safetensors', strengthModel: 0.8, strengthClip: 0.7 },
        { name: 'wash.safetensors', strengthModel: 0.5, strengthClip: 0.5 },
      ],
      warnings: [],
    });
  });

  it('finds the same in ComfyUI’s editor form, when that is all there is', async () => {
    expect(await readMetadata(golden('comfyui-workflow.png'))).toMatchObject({
      kind: 'comfyui',
      parameters: {
        prompt: 'beautiful scenery nature glass bottle landscape',
        negativePrompt: 'text, watermark',
        seed: 156680208700286,
        steps: 20,
        cfgScale: 8,
        sampler: 'Euler',
        scheduleType: 'Normal',
        model: 'v1-5-pruned-emaonly',
        size: { width: 512, height: 512 },
      },
      loras: [],
    });
  });

  it('finds nothing in a plain picture, without a warning', async () => {
    expect(await readMetadata(golden('plain.jpg'))).toEqual({ kind: 'none', warnings: [] });
  });
});

describe('what is written', () => {
  it('is piexif’s EXIF block, with the word that ends a TIFF directory, which piexif leaves out', () => {
    const ours = Buffer.from(encodeExif(expected.unicode));
    expect(ours.readUInt32BE(40)).toBe(0);
    const without = Buffer.concat([ours.subarray(0, 40), ours.subarray(44)]);
    without.writeUInt32BE(40, 36);
    expect(without.toString('hex')).toBe(expected.piexif);
  });

  it('lies where piexif puts it, byte for byte, but beside a JPEG’s JFIF header instead of in its place', () => {
    const exif = Buffer.from(expected.piexif, 'hex');
    const size = { width: 16, height: 8 };
    const jpeg = Buffer.from(insertIntoJpeg(golden('plain.jpg'), { exif }));
    expect(jpeg.subarray(0, 20)).toEqual(golden('plain.jpg').subarray(0, 20));
    expect(Buffer.concat([jpeg.subarray(0, 2), jpeg.subarray(20)])).toEqual(golden('a1111.jpg'));
    expect(insertIntoWebp(golden('plain-lossy.webp'), { exif }, size)).toEqual(golden('a1111-lossy.webp'));
    expect(insertIntoWebp(golden('plain-lossless.webp'), { exif }, size)).toEqual(golden('a1111-lossless.webp'));
  });

  it('is Pillow’s tEXt and iTXt chunk, byte for byte', () => {
    const header = golden('plain.png').subarray(0, 33);
    for (const [name, text] of [
      ['a1111-latin1.png', expected.latin1],
      ['a1111-unicode.png', expected.unicode],
    ] as const) {
      const chunk = Buffer.from(insertPngText(header, [{ keyword: 'parameters', text }])).subarray(33);
      expect(golden(name).includes(chunk), name).toBe(true);
    }
  });

  it('survives XML: our JSON comes back whatever it holds, also as an attribute', () => {
    const json = JSON.stringify({ a: '<&>"\'\u0000\uffff]]>&amp;', b: '雪🦊' });
    const packet = encodeXmp(json);
    expect(JSON.parse(readXmp(packet)!)).toEqual(JSON.parse(json));
    const attribute = Buffer.from(packet)
      .toString()
      .replace(
        /><mole:state>(.*)<\/mole:state>/,
        (_, text: string) => ` mole:state="${text.replaceAll('"', '&#34;')}">`,
      );
    expect(JSON.parse(readXmp(Buffer.from(attribute))!)).toEqual(JSON.parse(json));
  });
});

describe('hostile pictures', () => {
  const header = golden('plain.png').subarray(0, 33);
  const rest = golden('plain.png').subarray(33);
  const chunk = (type: string, data: Uint8Array): Buffer => {
    const bytes = Buffer.concat([Buffer.alloc(8), data, Buffer.alloc(4)]);
    bytes.writeUInt32BE(data.length, 0);
    bytes.write(type, 4);
    return bytes;
  };
  const text = (keyword: string, value: string): Buffer => chunk('tEXt', Buffer.from(`${keyword}\0${value}`, 'latin1'));
  const withChunks = (...chunks: Buffer[]): Buffer => Buffer.concat([header, ...chunks, rest]);

  it('inflate no bomb', async () => {
    const bomb = deflateSync(Buffer.alloc(256 * 2 ** 20));
    const before = process.memoryUsage().rss;
    const found = await readMetadata(withChunks(chunk('zTXt', Buffer.concat([Buffer.from('parameters\0\0'), bomb]))));
    expect(found).toEqual({
      kind: 'none',
      warnings: [expect.stringContaining(`inflates to more than ${mostTextBytes}`)],
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 2 ** 20);
  });

  it('nest nothing too deep, and send nobody round in circles', async () => {
    const deep = await readMetadata(withChunks(text('mole', '['.repeat(1_000_000))));
    expect(deep).toEqual({ kind: 'none', warnings: [expect.stringContaining('100 levels'), expect.any(String)] });
    const circle = {
      '1': {
        class_type: 'KSampler',
        inputs: { positive: ['2', 0], model: ['1', 0], latent_image: ['1', 0], seed: ['1', 0] },
      },
      '2': { class_type: 'ConditioningCombine', inputs: { conditioning_1: ['2', 0], conditioning_2: ['1', 0] } },
    };
    expect(await readMetadata(withChunks(text('prompt', JSON.stringify(circle))))).toMatchObject({ kind: 'comfyui' });
  });

  it('name what they hold when it is not understood', async () => {
    const found = await readMetadata(withChunks(text('invokeai_metadata', '{}'), text('mole', '{oops')));
    expect(found.kind).toBe('none');
    const swarm = await readMetadata(withChunks(text('parameters', '{"sui_image_params": {"prompt": "x"}}')));
    expect(swarm).toMatchObject({ kind: 'none', warnings: [expect.stringContaining('SwarmUI'), expect.any(String)] });
    expect(found.warnings.join('\n')).toMatch(/"mole" is left out: it is not JSON.*\n.*invokeai_metadata/);
  });

  it('are survived whatever byte is wrong', async () => {
    const names = [
      'a1111-ztxt.png',
      'a1111-unicode.png',
      'a1111.jpg',
      'a1111-lossy.webp',
      'little-endian.jpg',
      'comfyui.webp',
    ];
    let state = 11;
    const random = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below;
    for (const name of names) {
      const whole = golden(name);
      for (let round = 0; round < 300; round += 1) {
        const bytes = Buffer.from(round % 3 === 0 ? whole.subarray(0, random(whole.length)) : whole);
        for (let change = 0; change < 1 + (round % 4) && bytes.length > 0; change += 1)
          bytes[random(bytes.length)] = random(256);
        const found = await readMetadata(bytes);
        expect(['a1111', 'comfyui', 'none', 'mole'], `${name} ${round}`).toContain(found.kind);
      }
    }
  });

  it('with lying lengths end in a warning', () => {
    const lying = chunk('tEXt', Buffer.from('parameters\0x'));
    lying.writeUInt32BE(0xffffffff, 0);
    expect(readPngText(withChunks(lying)).warnings).toEqual([expect.stringContaining('cut off: 4294967295 bytes')]);
    expect(readPngText(withChunks(chunk('tEXt', Buffer.from('no end')))).warnings).toEqual([
      expect.stringContaining('zero byte'),
    ]);
    const many = Array.from({ length: 1500 }, (_, index) => text(`k${index}`, 'x'));
    expect(readPngText(withChunks(...many)).warnings).toEqual([expect.stringContaining('more text than is read')]);
    const exif = Buffer.from(encodeExif('x'));
    exif.writeUInt32BE(0x7fffffff, 14);
    expect(readExif(exif)).toEqual({ userComment: undefined, texts: [] });
    expect(readExif(Buffer.from('MM\0*\0\0\0\x08\xff\xff', 'latin1'))).toEqual({ userComment: undefined, texts: [] });
  });
});

describe('readComfyui', () => {
  it('follows a custom sampler’s guider, noise, sigmas and sampler nodes', () => {
    const settings = readComfyui({
      '1': {
        class_type: 'SamplerCustomAdvanced',
        inputs: { noise: ['2', 0], guider: ['3', 0], sampler: ['4', 0], sigmas: ['5', 0], latent_image: ['6', 0] },
      },
      '2': { class_type: 'RandomNoise', inputs: { noise_seed: ['10', 0] } },
      '3': { class_type: 'CFGGuider', inputs: { cfg: 4, model: ['7', 0], positive: ['8', 0], negative: ['9', 0] } },
      '4': { class_type: 'KSamplerSelect', inputs: { sampler_name: 'res_multistep' } },
      '5': {
        class_type: 'BasicScheduler',
        inputs: { scheduler: 'sgm_uniform', steps: 12, denoise: 0.4, model: ['7', 0] },
      },
      '6': { class_type: 'EmptySD3LatentImage', inputs: { width: 640, height: 512 } },
      '7': { class_type: 'UNETLoader', inputs: { unet_name: 'dir\\net.safetensors' } },
      '8': { class_type: 'ControlNetApplyAdvanced', inputs: { positive: ['11', 0], negative: ['12', 0], strength: 1 } },
      '9': { class_type: 'ControlNetApplyAdvanced', inputs: { positive: ['11', 0], negative: ['12', 0], strength: 1 } },
      '10': { class_type: 'PrimitiveInt', inputs: { value: 77 } },
      '11': { class_type: 'CLIPTextEncode', inputs: { text: ['13', 0] } },
      '12': { class_type: 'CLIPTextEncode', inputs: { text: 'dull' } },
      '13': { class_type: 'PrimitiveString', inputs: { value: 'bright' } },
    });
    expect(settings?.parameters).toEqual({
      prompt: 'bright',
      negativePrompt: 'dull',
      steps: 12,
      sampler: 'res_multistep',
      scheduleType: 'SGM Uniform',
      cfgScale: 4,
      seed: 77,
      size: { width: 640, height: 512 },
      model: 'net',
      denoisingStrength: 0.4,
      rng: 'CPU',
    });
  });

  it('shows the first of two passes, and says so', () => {
    const pass = (steps: number, latent: string) => ({
      class_type: 'KSampler',
      inputs: { steps, positive: ['9', 0], negative: ['9', 0], latent_image: [latent, 0] },
    });
    const settings = readComfyui({
      '1': pass(10, '2'),
      '2': { class_type: 'LatentUpscale', inputs: { samples: ['3', 0], width: 1024, height: 1024 } },
      '3': pass(20, '4'),
      '4': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512 } },
      '9': { class_type: 'CLIPTextEncode', inputs: { text: 'x' } },
    });
    expect(settings).toMatchObject({ parameters: { steps: 20, size: { width: 512, height: 512 } } });
    expect(settings?.warnings).toEqual([expect.stringContaining('samples 2 times; shown are the settings of node 3')]);
  });

  it('reads rgthree’s list of LoRAs, without the ones switched off', () => {
    const settings = readComfyui({
      '1': { class_type: 'KSampler', inputs: { model: ['2', 0], positive: ['3', 0] } },
      '2': {
        class_type: 'Power Lora Loader (rgthree)',
        inputs: {
          lora_1: { on: true, lora: 'a.safetensors', strength: 0.5 },
          lora_2: { on: false, lora: 'b.safetensors', strength: 1 },
          lora_3: { on: true, lora: 'c.safetensors', strength: 1, strengthTwo: 0.2 },
        },
      },
    });
    expect(settings?.loras).toEqual([
      { name: 'a.safetensors', strengthModel: 0.5, strengthClip: 0.5 },
      { name: 'c.safetensors', strengthModel: 1, strengthClip: 0.2 },
    ]);
  });

  it('refuses what is no graph', () => {
    for (const value of [undefined, null, 1, 'x', [], {}, { nodes: 1 }, { '1': { class_type: 'X', inputs: [] } }]) {
      expect(readComfyui(value)).toBeUndefined();
    }
  });
});
