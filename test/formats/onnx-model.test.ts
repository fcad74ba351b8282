// The bytes of a model, read back by onnx-proto (protobufjs over ONNX's own schema), which shares no code with our writer.
import { onnx } from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { serializeModel } from '../../src-main/formats/onnx-model.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';

const decode = (b: GraphBuilder): onnx.IModelProto =>
  onnx.ModelProto.toObject(onnx.ModelProto.decode(serializeModel(b.build()).bytes), { longs: String });

const ref = (more: Partial<TensorRef> = {}): TensorRef => ({
  file: '/home/u/models/a.safetensors',
  dtype: 'float32',
  shape: [2, 3],
  offset: 71,
  length: 24,
  ...more,
});

const external = (tensor: onnx.ITensorProto | undefined): Record<string, string> =>
  Object.fromEntries((tensor?.externalData ?? []).map(({ key, value }) => [key!, value!]));

describe('the model', () => {
  it('is IR 10 and imports opset 21, and com.microsoft 1 only when a node needs it', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [1, 4, 8]);
    b.output('y', b.Exp(x));
    expect(decode(b)).toMatchObject({ irVersion: '10', producerName: 'mole-atelier' });
    expect(decode(b).opsetImport).toEqual([{ domain: '', version: '21' }]);
    b.output('z', b.MultiHeadAttention(x, x, x, 2));
    expect(decode(b).opsetImport).toEqual([
      { domain: '', version: '21' },
      { domain: 'com.microsoft', version: '1' },
    ]);
  });

  it('keeps names beyond ASCII', () => {
    const b = new GraphBuilder('мол');
    b.output('絵', b.Exp(b.input('entrée', [1])));
    const graph = decode(b).graph!;
    expect([graph.name, graph.input![0]!.name, graph.output![0]!.name]).toEqual(['мол', 'entrée', '絵']);
  });

  it('declares inputs and outputs with type, fixed and symbolic sizes', () => {
    const b = new GraphBuilder('net');
    b.output('y', b.Gather(b.input('table', [300, 'D']), b.input('ids', ['B', 77], 'int64')));
    const graph = decode(b).graph!;
    const shapes = [...graph.input!, ...graph.output!].map((value) => [
      value.name,
      value.type!.tensorType!.elemType,
      value.type!.tensorType!.shape!.dim!.map(({ dimValue, dimParam }) => dimParam ?? String(dimValue)),
    ]);
    expect(shapes).toEqual([
      ['table', 1, ['300', 'D']],
      ['ids', 7, ['B', '77']],
      ['y', 1, ['B', '77', 'D']],
    ]);
  });

  it('declares a scalar with an empty shape, not with none', () => {
    const b = new GraphBuilder('net');
    b.output('y', b.Exp(b.input('x', [])));
    const type = onnx.ModelProto.decode(serializeModel(b.build()).bytes).graph!.input![0]!.type!.tensorType!;
    expect(type.shape).not.toBeNull();
    expect(type.shape!.dim).toHaveLength(0);
  });
});

describe('nodes', () => {
  it('carry every kind of attribute', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [1, 4, 8, 8]);
    const w = b.input('w', [4, 4, 3, 3]);
    b.Conv(x, w, undefined, { padding: [0, 1, 2, 3], stride: 2 });
    b.Softmax(x);
    b.Gelu(x, 'tanh');
    b.QuickGelu(x, 1.702);
    b.Cast(x, 'bfloat16');
    const [conv, softmax, gelu, quick, cast] = decode(b).graph!.node!;
    const attribute = (node: onnx.INodeProto | undefined, name: string) =>
      node!.attribute!.find((candidate) => candidate.name === name);
    expect(attribute(conv, 'pads')).toMatchObject({ type: 7, ints: ['0', '1', '2', '3'] });
    expect(attribute(conv, 'group')).toMatchObject({ type: 2, i: '1' });
    expect(attribute(softmax, 'axis')).toMatchObject({ type: 2, i: '-1' });
    expect(attribute(gelu, 'approximate')).toMatchObject({ type: 3, s: new TextEncoder().encode('tanh') });
    expect(attribute(quick, 'alpha')!.f).toBeCloseTo(1.702, 6);
    expect(quick).toMatchObject({ domain: 'com.microsoft', opType: 'QuickGelu' });
    expect(attribute(cast, 'to')).toMatchObject({ type: 2, i: '16' });
  });

  it('write an omitted input as an empty name', () => {
    const b = new GraphBuilder('net');
    b.Resize(b.input('x', [1, 1, 2, 2]), 2);
    expect(decode(b).graph!.node![0]!.input![1]).toBe('');
  });
});

describe('weights', () => {
  it('are named by place: file under the root, offset and length in bytes', () => {
    const b = new GraphBuilder('net');
    b.weight('unet.conv_in.weight', ref(), [2, 3]);
    expect(serializeModel(b.build()).externalRoot).toBe('/');
    const tensor = decode(b).graph!.initializer![0];
    expect(tensor).toMatchObject({ name: 'unet.conv_in.weight', dims: ['2', '3'], dataType: 1, dataLocation: 1 });
    expect(external(tensor)).toEqual({ location: 'home/u/models/a.safetensors', offset: '71', length: '24' });
  });

  it('beyond 4 GB keep their exact place', () => {
    const b = new GraphBuilder('net');
    b.weight('w', ref({ offset: 2 ** 33 + 7, shape: [70_000, 70_000], length: 4 * 70_000 ** 2 }), [70_000, 70_000]);
    const tensor = decode(b).graph!.initializer![0];
    expect(tensor!.dims).toEqual(['70000', '70000']);
    expect(external(tensor)).toMatchObject({ offset: '8589934599', length: '19600000000' });
  });

  it('in folders with spaces and other scripts keep their path', () => {
    const b = new GraphBuilder('net');
    b.weight('w', ref({ file: '/home/ü/мои модели/a b.safetensors' }), [2, 3]);
    expect(external(decode(b).graph!.initializer![0])['location']).toBe('home/ü/мои модели/a b.safetensors');
  });

  it.each([
    ['float16', 10],
    ['bfloat16', 16],
    ['float64', 11],
    ['float8e4m3fn', 17],
    ['float8e5m2', 19],
    ['int8', 3],
    ['uint8', 2],
    ['int64', 7],
  ] as const)('of type %s have data type %i of TensorProto', (dtype, number) => {
    const b = new GraphBuilder('net');
    b.embedding('w', ref({ dtype }), [2, 3], b.input('ids', [1], 'int64'));
    expect(decode(b).graph!.initializer![0]!.dataType).toBe(number);
  });

  it('absent, no folder is named', () => {
    const b = new GraphBuilder('net');
    b.output('y', b.Exp(b.input('x', [1])));
    expect(serializeModel(b.build()).externalRoot).toBeUndefined();
  });
});

describe('constants', () => {
  it('hold negative int64 exactly', () => {
    const b = new GraphBuilder('net');
    const values = [-1, 0, 2 ** 40 + 1, -(2 ** 40) - 1, Number.MIN_SAFE_INTEGER];
    b.integers(values);
    const raw = Buffer.from(decode(b).graph!.initializer![0]!.rawData!);
    expect(values.map((_, i) => Number(raw.readBigInt64LE(8 * i)))).toEqual(values);
  });

  it('hold a view of a larger buffer, not the buffer', () => {
    const b = new GraphBuilder('net');
    b.constant(new Float32Array([9, 1, 2, 9]).subarray(1, 3));
    const raw = Buffer.from(decode(b).graph!.initializer![0]!.rawData!);
    expect([raw.length, raw.readFloatLE(0), raw.readFloatLE(4)]).toEqual([8, 1, 2]);
  });

  it('as attributes and sizes, negative numbers are ten-byte varints that read back negative', () => {
    const b = new GraphBuilder('net');
    b.Transpose(b.input('x', [2]), [0]);
    b.op('ReduceSum', [b.input('y', [2]), b.integers([-1])], { keepdims: -(2 ** 33) });
    const node = decode(b).graph!.node!.find(({ opType }) => opType === 'ReduceSum');
    expect(node!.attribute![0]).toMatchObject({ i: '-8589934592' });
  });
});
