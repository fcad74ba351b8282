// From a request to the whole stack: tags looked up in folders, recipes that travel, masks and modes.
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mixSchema, type MixRequest } from '../../src-main/contract/experts.ts';
import { completeMix } from '../../src-main/engine/complete-mix.ts';
import { failureOf } from '../../src-main/engine/failure-of.ts';
import { expertsOfPrompt } from '../../src-main/engine/prompt-experts.ts';
import { readRecipe, writeRecipe } from '../../src-main/engine/recipe.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'atelier-mix-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const place = (path: string): string => join(root, ...path.split('/'));
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
/** A file whose content is `text`; only its hash matters here. */
function put(path: string, text = path): string {
  mkdirSync(join(place(path), '..'), { recursive: true });
  writeFileSync(place(path), text);
  return place(path);
}
const settle = (mix: MixRequest, prompt = 'a cat') => completeMix(mixSchema.parse(mix), prompt);
async function failure(promise: Promise<unknown>): Promise<{ kind: string; message: string }> {
  return promise.then(
    () => expect.unreachable('it did not fail'),
    (error: unknown) => failureOf(error),
  );
}

describe('tags of a prompt', () => {
  it('become experts by the stem of a file, in sub-folders too, in order', async () => {
    const ink = put('loras/styles/ink.safetensors');
    const cat = put('more/cat.safetensors');
    const { prompt, experts, warnings } = await expertsOfPrompt(
      'a <lora:cat:0.5:1.2>cat in <lora:ink:1:lbw=NONE>ink<lora:ink:0@0,1@1>',
      [place('loras'), place('more')],
    );
    expect(prompt).toBe('a cat in ink');
    expect(warnings).toEqual([]);
    expect(experts).toEqual([
      { path: cat, weight: '1.2', textWeight: 0.5 },
      { path: ink, weight: '1', textWeight: 1, blocks: Array(26).fill('0').join(',') },
      { path: ink, weight: '0@0,1@1', textWeight: 0 },
    ]);
  });

  it('are found with their folder, with their ending, and in another case', async () => {
    const ink = put('loras/styles/Ink.safetensors');
    for (const name of ['styles/Ink', 'styles\\Ink', 'Ink.safetensors', 'ink', 'STYLES/INK']) {
      const { experts } = await expertsOfPrompt(`<lora:${name}:1>`, [place('loras')]);
      expect(experts.map(({ path }) => path)).toEqual([ink]);
    }
    expect((await expertsOfPrompt('<lora:nk:1>', [place('loras')])).experts).toEqual([]);
  });

  it('that are unknown, unreadable or of another kind are told one by one', async () => {
    put('loras/ink.safetensors');
    const prompt = 'x <lora:oil:1> <lora:ink:much> <hypernet:h:1> <lora:ink:1:hr=2>';
    const { experts, warnings } = await expertsOfPrompt(prompt, [place('loras')]);
    expect(experts).toHaveLength(1);
    expect(warnings.join('\n')).toMatch(/<lora:oil:1> is left out: there is no oil\.safetensors in .*loras/);
    expect(warnings.join('\n')).toMatch(/<lora:ink:much> is left out: "much" is no weight/);
    expect(warnings.join('\n')).toMatch(/only <lora:…> tags are known: <hypernet:h:1>/);
    expect(warnings.join('\n')).toMatch(/<lora:ink:1:hr=2>: hr=2 means nothing here/);
    expect((await expertsOfPrompt('<lora:ink>', [])).warnings[0]).toMatch(/no folder of LoRAs is given/);
  });

  it('that fit two files take the first and say so', async () => {
    const first = put('a/ink.safetensors');
    const second = put('b/ink.safetensors');
    const { experts, warnings } = await expertsOfPrompt('<lora:ink>', [place('a'), place('b')]);
    expect(experts[0]!.path).toBe(first);
    expect(warnings).toEqual([expect.stringContaining(second)]);
  });

  it('end in a folder that links to itself', async () => {
    const ink = put('loras/ink.safetensors');
    symlinkSync(place('loras'), place('loras/again'));
    const { experts, warnings } = await expertsOfPrompt('<lora:ink>', [place('loras'), place('loras'), place('none')]);
    expect(experts.map(({ path }) => path)).toEqual([ink]);
    expect(warnings).toEqual([]);
  });
});

describe('a recipe', () => {
  const mix = (): MixRequest => ({
    experts: [
      { path: put('one/ink.safetensors'), weight: '0@0,1@1', textWeight: 0, blocks: 'OUTS' },
      { path: put('two/cat.safetensors'), weight: -0.5, unguided: 0.8, muted: true, solo: true },
    ],
    mode: 'switch',
    switchEvery: 3,
    np: { mu: 0.1 },
    gate: put('gates/both.mole.safetensors'),
    masks: { MID: [true, false] },
    overrides: { OUT03: [0.25, null] },
  });

  it('written and read again is the same mix, on another machine too', async () => {
    const path = await writeRecipe(place('look'), mix());
    expect(path).toBe(place('look.mole.json'));
    expect(readFileSync(path, 'utf8')).not.toContain(root);
    renameSync(place('one'), place('elsewhere'));
    const { experts, ...rest } = await readRecipe(path, [root]);
    expect(experts).toEqual([
      {
        path: place('elsewhere/ink.safetensors'),
        weight: '0@0,1@1',
        textWeight: 0,
        blocks: 'OUTS',
        muted: false,
        solo: false,
      },
      { path: place('two/cat.safetensors'), weight: -0.5, unguided: 0.8, muted: true, solo: true },
    ]);
    expect(rest).toEqual({
      mode: 'switch',
      switchEvery: 3,
      np: { mu: 0.1 },
      gate: place('gates/both.mole.safetensors'),
      masks: { MID: [true, false] },
      overrides: { OUT03: [0.25, null] },
    });
  });

  it('finds files beside it, renamed ones, and never another one of the same name', async () => {
    const ink = put('ink.safetensors', 'the ink');
    const path = await writeRecipe(place('look.mole.json'), { experts: [{ path: ink }] });
    expect((await readRecipe(path, [])).experts[0]!.path).toBe(ink);
    renameSync(ink, put('library/ink-v2.safetensors'));
    put('library/ink.safetensors', 'THE INK');
    expect((await readRecipe(path, [place('library')])).experts[0]!.path).toBe(place('library/ink-v2.safetensors'));
  });

  it('names all missing files with their hashes at once', async () => {
    const path = await writeRecipe(place('look.mole.json'), mix());
    rmSync(place('one/ink.safetensors'));
    put('two/cat.safetensors', 'another cat');
    const { kind, message } = await failure(readRecipe(path, [place('one'), place('two'), place('gates')]));
    expect(kind).toBe('bad-request');
    expect(message).toContain(`ink.safetensors (SHA-256 ${sha256('one/ink.safetensors')})`);
    expect(message).toContain(`cat.safetensors (SHA-256 ${sha256('two/cat.safetensors')}; `);
    expect(message).toContain('has other content');
    expect(message).toContain('2 files');
  });

  it('knows a PEFT folder by the weights in it', async () => {
    const weights = put('peft/adapter_model.safetensors');
    const path = await writeRecipe(place('look.mole.json'), { experts: [{ path: place('peft') }] });
    expect((await readRecipe(path, [root])).experts[0]!.path).toBe(weights);
  });

  it('is never written over, and leaves nothing behind when a file of it is missing', async () => {
    const experts = [{ path: put('ink.safetensors') }];
    expect(await writeRecipe(place('look.mole.json'), { experts })).toBe(place('look.mole.json'));
    expect(await writeRecipe(place('look.mole.json'), { experts })).toBe(place('look.mole-2.json'));
    expect((await failure(writeRecipe(place('bad'), { experts: [{ path: place('none') }] }))).message).toMatch(
      /no such file/,
    );
    expect(readdirSync(root).sort()).toEqual(['ink.safetensors', 'look.mole-2.json', 'look.mole.json']);
  });

  it.each<[string, string, RegExp]>([
    ['a text', 'hello', /no recipe: it is not JSON/],
    ['deep JSON', '['.repeat(1000) + ']'.repeat(1000), /nested more than/],
    ['a large file', ' '.repeat(2 ** 20 + 1), /at most 1048576/],
    ['another object', '{"version": 1}', /damaged \(experts: /],
    ['a later version', '{"version": 2, "experts": []}', /version 2, this program reads version 1\. Update/],
    ['a path as a hash', '{"version":1,"experts":[{"name":"a","sha256":"../../x"}]}', /experts\.0\.sha256/],
    ['an unknown field', '{"version":1,"experts":[],"run":"rm"}', /run/],
  ])('%s is refused in words', async (_, text, message) => {
    const path = put('bad.mole.json', text);
    const refused = await failure(readRecipe(path, []));
    expect(refused.kind).toBe('bad-file');
    expect(refused.message).toMatch(message);
    expect(refused.message.startsWith(path)).toBe(true);
  });

  it('cannot reach files outside the folders by their name', async () => {
    const secret = put('outside/secret.safetensors');
    const recipe = {
      version: 1,
      experts: [{ name: '../outside/secret.safetensors', sha256: sha256('outside/secret.safetensors') }],
    };
    const path = put('inside/look.mole.json', JSON.stringify(recipe));
    expect((await failure(readRecipe(path, [place('inside')]))).message).toContain('not found');
    expect(secret).toBeTruthy();
  });
});

describe('the whole stack', () => {
  it('is the recipe, the named experts and the tags, in this order; the request wins over the recipe', async () => {
    const [ink, cat, oil] = [put('l/ink.safetensors'), put('l/cat.safetensors'), put('l/oil.safetensors')];
    const recipe = await writeRecipe(place('r'), { experts: [{ path: ink }], mode: 'switch', switchEvery: 2 });
    const request = { recipe, experts: [{ path: cat }], loraFolders: [place('l')] };
    const { prompt, mix } = await settle(request, 'a <lora:oil:0.5>cat');
    expect(prompt).toBe('a cat');
    expect(mix.experts.map(({ path }) => path)).toEqual([ink, cat, oil]);
    expect([mix.mode, mix.switchEvery]).toEqual(['switch', 2]);
    expect((await settle({ ...request, mode: 'composite' })).mix.mode).toBe('composite');
  });

  it('has the mode that gate and block weights call for', async () => {
    const path = put('ink.safetensors');
    const mode = async (mix: MixRequest): Promise<string> => (await settle(mix)).mix.mode;
    expect(await mode({})).toBe('sum');
    expect(await mode({ experts: [{ path }] })).toBe('sum');
    expect(await mode({ experts: [{ path, blocks: 'INS' }] })).toBe('manual');
    expect(await mode({ experts: [{ path, blocks: 'INS' }], gate: path })).toBe('mole');
    const { mix, warnings } = await settle({ experts: [{ path, blocks: 'INS' }], mode: 'sum' });
    expect(mix.mode).toBe('sum');
    expect(warnings).toEqual(['Block weights are left out in mode sum; mode manual uses them.']);
  });

  it('is masked as asked, whatever was muted or solo', async () => {
    const path = put('ink.safetensors');
    const experts = [{ path, solo: true }, { path, muted: true }, { path }];
    const { mix } = await settle({ experts, mask: [false, true, true] });
    expect(mix.experts.map(({ muted, solo }) => [muted, solo])).toEqual([
      [true, false],
      [false, false],
      [false, false],
    ]);
  });

  it('refuses masks and values set by hand of another length', async () => {
    const experts = [{ path: put('ink.safetensors') }];
    expect((await failure(settle({ experts, mask: [true, false] }))).message).toMatch(/mask has 2 entries.*1 experts/);
    expect((await failure(settle({ experts, masks: { MID: [] } }))).message).toMatch(/mask of MID has 0 entries/);
    const overrides = { MID: [0.5, null] };
    expect((await failure(settle({ experts, overrides }))).message).toMatch(/by hand in MID are 2.*1 experts/);
  });

  it('of a request without a mix is empty, and tags are still told', async () => {
    const { mix, warnings } = await completeMix(undefined, 'a cat <lora:ink>');
    expect(mix.experts).toEqual([]);
    expect(warnings).toHaveLength(1);
  });
});
