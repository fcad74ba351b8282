// Tensor names of adapters, taken apart into the layer that they name and what the tensor is to it. Only endings are read
// here: what the layer's name means, lora-targets.ts looks up. LyCORIS' names: https://github.com/KohakuBlueleaf/LyCORIS.

/** A key of an adapter file. */
export interface AdapterKey {
  readonly layer: string;
  /** 'down', 'up', 'mid', 'alpha', 'w1_a', 'diff', ... */
  readonly role: string;
  /** How the ending is written, where that tells families apart. */
  readonly style: 'kohya' | 'PEFT' | 'processor' | 'linear_layer';
}

/** Ending -> role and style. Longer endings come before those that they contain. */
const endings: readonly (readonly [string, string, AdapterKey['style']])[] = [
  ['.lora_linear_layer.down.weight', 'down', 'linear_layer'],
  ['.lora_linear_layer.up.weight', 'up', 'linear_layer'],
  ['.lora_linear_layer.alpha', 'alpha', 'linear_layer'],
  ['.lora.down.weight', 'down', 'linear_layer'],
  ['.lora.up.weight', 'up', 'linear_layer'],
  ['.lora.alpha', 'alpha', 'linear_layer'],
  ['_lora.down.weight', 'down', 'processor'],
  ['_lora.up.weight', 'up', 'processor'],
  ['_lora.alpha', 'alpha', 'processor'],
  ['.lora_down.weight', 'down', 'kohya'],
  ['.lora_up.weight', 'up', 'kohya'],
  ['.lora_mid.weight', 'mid', 'kohya'],
  ['.alpha', 'alpha', 'kohya'],
  ['.scale', 'scale', 'kohya'],
  ['.dora_scale', 'magnitude', 'kohya'],
  ['.hada_w1_a', 'w1_a', 'kohya'],
  ['.hada_w1_b', 'w1_b', 'kohya'],
  ['.hada_w2_a', 'w2_a', 'kohya'],
  ['.hada_w2_b', 'w2_b', 'kohya'],
  ['.hada_t1', 't1', 'kohya'],
  ['.hada_t2', 't2', 'kohya'],
  ['.lokr_w1', 'kron_w1', 'kohya'],
  ['.lokr_w1_a', 'kron_w1_a', 'kohya'],
  ['.lokr_w1_b', 'kron_w1_b', 'kohya'],
  ['.lokr_w2', 'kron_w2', 'kohya'],
  ['.lokr_w2_a', 'kron_w2_a', 'kohya'],
  ['.lokr_w2_b', 'kron_w2_b', 'kohya'],
  ['.lokr_t2', 'kron_t2', 'kohya'],
  ['.diff', 'diff', 'kohya'],
  ['.diff_b', 'diff_b', 'kohya'],
  ['.oft_blocks', 'oft', 'kohya'],
  ['.oft_diag', 'oft', 'kohya'],
  ['.oft_R.weight', 'oft', 'PEFT'],
  ['.oft_r', 'oft', 'PEFT'],
  ['.boft_R', 'oft', 'PEFT'],
  ['.boft_s', 'oft', 'PEFT'],
  ['.rescale', 'rescale', 'kohya'],
  ['.on_input', 'on_input', 'kohya'],
  ['.ia3_l', 'on_input', 'PEFT'],
  ['.a1.weight', 'glora', 'kohya'],
  ['.a2.weight', 'glora', 'kohya'],
  ['.b1.weight', 'glora', 'kohya'],
  ['.b2.weight', 'glora', 'kohya'],
  ['.bm.weight', 'glora', 'kohya'],
  ['.w_norm', 'norm', 'kohya'],
  ['.b_norm', 'norm', 'kohya'],
  ['.reshape_weight', 'reshape', 'kohya'],
  ['.set_weight', 'set', 'kohya'],
  ['.weight', 'weight', 'kohya'],
];

/** PEFT's endings: some writers leave the adapter's own name in, or leave `.weight` out. */
const peft = /\.lora_(A|B|magnitude_vector)(?:(?:\.[\w-]{1,64})?\.weight)?$/;
const peftRoles: Readonly<Record<string, string>> = { A: 'down', B: 'up', magnitude_vector: 'magnitude' };

/** Longest key that is taken apart; real ones have about 120 characters. */
const longestKey = 1000;

/** The parts of `key`, undefined when its ending is no adapter's. */
export function adapterKey(key: string): AdapterKey | undefined {
  if (key.length > longestKey) return undefined;
  const found = peft.exec(key);
  if (found !== null) return { layer: key.slice(0, found.index), role: peftRoles[found[1]!]!, style: 'PEFT' };
  for (const [ending, role, style] of endings) {
    if (key.endsWith(ending)) return { layer: key.slice(0, -ending.length), role, style };
  }
  return undefined;
}
