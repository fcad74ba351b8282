// The gates as the paper writes them, the baseline of the benchmark: every expert's output is made in full, E_i = B_i A_i h,
// concatenated over experts and read by the gate; each layer then sums G_i E_i (arXiv:2404.13628, Eq. 7-12). Pooled form.
import type { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Value } from '../../src-main/graph/ir.ts';
import type { Layers } from '../../src-main/mole/expert-feeds.ts';
import type { ExpertGraph } from '../../src-main/mole/expert-layers.ts';
import { rankOf } from '../../src-main/mole/expert.ts';
import { plainLayers, type LayerFactory } from '../../src-main/networks/layers.ts';
import type { NetworkModule } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';

/** A factory with `experts` as constants and random gates. */
export function naiveLayers(graph: ExpertGraph, experts: Layers): LayerFactory {
  const groups = graph.gate!.groups;
  const outputs = new Map<string, readonly Value[]>();
  const gates = new Map<string, Value>();
  const random = new TorchGenerator(1);

  /** E_i of all experts at a layer, each as wide as the layer. */
  const full = (b: GraphBuilder, x: Value, module: NetworkModule): readonly Value[] => {
    const known = outputs.get(module.name);
    if (known !== undefined) return known;
    const { inFeatures, outFeatures } = module;
    const made = experts.map((layers) => {
      const { down, up } = layers.get(module.name)!;
      const rank = rankOf(layers.get(module.name)!);
      if (module.kind === 'conv') {
        const u = b.Conv(x, b.constant(down.data, [rank, inFeatures, 1, 1]), undefined, { padding: 0 });
        return b.Conv(u, b.constant(up.data, [outFeatures, rank, 1, 1]), undefined, { padding: 0 });
      }
      const u = b.MatMul(x, b.Transpose(b.constant(down.data, [rank, inFeatures]), [1, 0]));
      return b.MatMul(u, b.Transpose(b.constant(up.data, [outFeatures, rank]), [1, 0]));
    });
    outputs.set(module.name, made);
    return made;
  };

  const add = (b: GraphBuilder, x: Value, y: Value, module: NetworkModule): Value => {
    const group = groups.find(({ members }) => members.includes(module))!;
    let gate = gates.get(group.name);
    if (gate === undefined) {
      const means = group.readers.map((reader) => {
        const all = b.Concat(
          full(b, x, reader).map((e) => b.Unsqueeze(e, [1])),
          1,
        ); // [B, N, ...]
        return reader.kind === 'conv' ? b.ReduceMean(all, [3, 4], false) : b.ReduceMean(all, [2], false); // [B, N, out]
      });
      const features = b.Reshape(b.Concat(means, 2), [0, experts.length * group.width]);
      const norm = b.Sqrt(b.ReduceSum(b.Mul(features, features), [1]));
      const e = random.randn([experts.length * group.width, experts.length]);
      gate = b.Softmax(b.MatMul(b.Div(features, norm), b.constant(e.data, e.shape)));
      gates.set(group.name, gate);
    }
    const parts = b.Split(
      gate,
      experts.map(() => 1),
      1,
    ); // N times [B, 1]
    return full(b, x, module).reduce((sum, e, i) => {
      const weight = module.kind === 'conv' ? b.Unsqueeze(parts[i]!, [2, 3]) : b.Unsqueeze(parts[i]!, [2]);
      return b.Add(sum, b.Mul(e, weight));
    }, y);
  };

  return {
    linear(network, x, name, options) {
      const y = plainLayers.linear(network, x, name, options);
      const module = graph.modules.get(name);
      return module === undefined ? y : add(network.builder, x, y, module);
    },
    conv(network, x, name, options) {
      const y = plainLayers.conv(network, x, name, options);
      const module = graph.modules.get(name);
      return module === undefined ? y : add(network.builder, x, y, module);
    },
  };
}
