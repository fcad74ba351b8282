// Trigger words by A1111's rules (its LoRA editor, build_tags), and the other facts of a report card.
import { describe, expect, it } from 'vitest';
import { adapterFacts } from '../../src-main/engine/adapter-facts.ts';
import type { Sidecars } from '../../src-main/engine/sidecars.ts';

const none: Sidecars = { files: [], warnings: [] };
const facts = (metadata: Readonly<Record<string, string>>, sidecars: Sidecars = none) =>
  adapterFacts(metadata, sidecars);
const tagged = (table: unknown) => facts({ ss_tag_frequency: JSON.stringify(table) });

describe('trigger words', () => {
  const frequency = { ss_tag_frequency: JSON.stringify({ '10_ohwx': { cat: 3 } }) };
  const civitai = { trainedWords: ['ink style', 'wash, wet'] };

  it('the author comes first, then the notes, then Civitai, then the tags', () => {
    const notes = { activationText: 'my ink,  my wash ,' };
    const spec = { 'modelspec.trigger_phrase': 'ohwx cat', ...frequency };
    expect(facts(spec, { ...none, notes, civitai })).toMatchObject({
      triggerWords: ['ohwx cat'],
      triggerSource: "its author's trigger phrase",
    });
    expect(facts(frequency, { ...none, notes, civitai }).triggerWords).toEqual(['my ink', 'my wash']);
    expect(facts(frequency, { ...none, civitai }).triggerWords).toEqual(['ink style', 'wash', 'wet']);
    expect(facts(frequency)).toMatchObject({
      triggerWords: ['ohwx', 'cat'],
      triggerSource: 'its most frequent training tags',
    });
  });

  it('tags are summed over the folders, stripped, sorted by count, the first of equals first; at most 24', () => {
    expect(tagged({ '1_img': { ' red': 2, cat: 3, dog: 3 }, '4_images': { 'red ': 2, '': 99 } }).triggerWords).toEqual([
      'red',
      'cat',
      'dog',
    ]);
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`t${i}`, 100 - i]));
    expect(tagged({ img: many }).triggerWords).toHaveLength(24);
    expect(tagged({ img: many }).triggerWords[23]).toBe('t23');
  });

  it('captions (tags of 16 letters and more on average) are taken apart into words of three letters and more', () => {
    const found = tagged({ img: { 'a drawing of an ohwx cat': 2, "the ohwx cat's hat on it": 1 } });
    expect(found.triggerWords).toEqual(['ohwx', 'drawing', 'cat', 'the', "cat's", 'hat']);
    expect(found.triggerSource).toBe('its most frequent training words');
  });

  it('the folder `<repeats>_<concept>` is the first guess, unless it says nothing', () => {
    expect(tagged({ '10_sks dog': { toy: 5 }, '2_img': { toy: 1 } }).triggerWords).toEqual(['sks dog', 'toy']);
    const folders = facts({ ss_dataset_dirs: JSON.stringify({ '5_ohwx': { n_repeats: 5, img_count: 3 } }) });
    expect(folders).toMatchObject({ triggerWords: ['ohwx'], triggerSource: 'its training folders' });
  });

  it.each([
    ['deep', '['.repeat(1e6)],
    ['five megabytes', JSON.stringify({ img: { ['x'.repeat(5_000_000)]: 1 } })],
    ['no JSON', 'None of that {'],
  ])('a hostile tag table (%s) is a warning', (_, text) => {
    const found = facts({ ss_tag_frequency: text });
    expect(found.triggerWords).toEqual([]);
    expect(found.warnings.join()).toMatch(/tags in its metadata were not read/);
  });

  it.each([['[1]'], ['{"a":3}'], ['{"a":{"b":"c"}}'], ['{"a":{"b":null}}'], ['{"__proto__":{"toString":1}}'], ['"x"']])(
    'an odd tag table (%s) breaks nothing',
    (text) => {
      expect(facts({ ss_tag_frequency: text }).triggerWords).toEqual(text.includes('toString') ? ['toString'] : []);
    },
  );
});

describe('the other facts', () => {
  it('a full kohya header', () => {
    const found = facts({
      ss_output_name: 'ink_v1',
      'modelspec.title': 'Ink',
      'modelspec.author': 'somebody',
      'modelspec.license': 'CC-BY-4.0',
      'modelspec.description': 'soft ink',
      'modelspec.usage_hint': 'weight 0.8',
      ss_sd_model_name: 'v1-5-pruned.safetensors',
      ss_network_module: 'lycoris.kohya',
      ss_network_dim: '16',
      ss_network_alpha: '8.0',
      ss_network_args: '{"algo": "lokr", "conv_dim": "8", "nested": {"x": 1}}',
      ss_resolution: '(512, 512)',
      ss_num_train_images: '1200',
      ss_epoch: '10',
      ss_steps: '12000',
      ss_learning_rate: '0.0001',
      ss_optimizer: 'bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)',
      ss_clip_skip: 'None',
      ss_training_started_at: '1709251200.5',
      ss_training_comment: 'None',
      ss_tag_frequency: '{"img":{"ink":1}}',
    });
    expect(found).toEqual({
      triggerWords: ['ink'],
      triggerSource: 'its most frequent training tags',
      title: 'Ink',
      author: 'somebody',
      licence: 'CC-BY-4.0',
      description: 'soft ink',
      training: [
        ['trained on', 'v1-5-pruned.safetensors'],
        ['network', 'lycoris.kohya, dimension 16, alpha 8.0, algo lokr, conv_dim 8'],
        ['resolution', '(512, 512)'],
        ['pictures', '1,200'],
        ['epochs', '10'],
        ['steps', '12,000'],
        ['learning rate', '0.0001'],
        ['optimizer', 'AdamW8bit(weight_decay=0.1)'],
        ['date', '2024-03-01'],
        ['usage', 'weight 0.8'],
      ],
      warnings: [],
    });
  });

  it("the user's own description and weight count before the file's", () => {
    const notes = { description: 'mine', preferredWeight: 0.6 };
    expect(facts({ 'modelspec.description': 'theirs' }, { ...none, notes })).toMatchObject({
      description: 'mine',
      preferredWeight: 0.6,
    });
  });

  it('no metadata at all: a warning', () => {
    expect(facts({})).toEqual({
      triggerWords: [],
      training: [],
      warnings: ['It does not say its trigger words, author or licence.'],
    });
  });

  it('hostile texts stay texts, shortened', () => {
    const evil = `<script>alert(1)</script>\u001b[2J${'x'.repeat(5_000_000)}`;
    const keys = ['modelspec.title', 'modelspec.author', 'modelspec.license', 'modelspec.description', 'ss_optimizer'];
    const found = facts(Object.fromEntries([...keys, 'ss_epoch', 'ss_network_args'].map((key) => [key, evil])));
    expect(found.title).toMatch(/^<script>alert\(1\)<\/script>/);
    for (const text of [found.title, found.author, found.licence]) expect(text!.length).toBe(200);
    expect(found.description!.length).toBe(4000);
    expect(JSON.stringify(found).length).toBeLessThan(10_000);
    expect(found.training.map(([label]) => label)).toEqual(['optimizer']);
  });

  it('dates that are none, and names that objects have by themselves, are left out', () => {
    expect(facts({ ss_training_started_at: '1e300' }).training).toEqual([]);
    expect(facts({ ss_training_started_at: 'NaN' }).training).toEqual([]);
    expect(facts({ 'modelspec.date': 'yesterday' }).training).toEqual([]);
  });
});
