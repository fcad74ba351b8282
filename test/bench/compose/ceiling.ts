// How good the judge itself is on true drawings, as its training script found it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { folder } from './compositions.ts';

interface Accuracy {
  readonly pictures: number;
  readonly subjectTop1: number;
  readonly subjectTop5: number;
  /** All styles right. */
  readonly style: number;
}

/** By part of the judge, then by kind of picture and group of compositions. */
type Report = Readonly<Record<'subject' | 'style', Readonly<Record<string, Readonly<Record<string, Accuracy>>>>>>;

export function ceilingText(): string {
  const report = JSON.parse(readFileSync(join(folder, 'evaluator.json'), 'utf8')) as Report;
  const share = (x: number): string => `${(x * 100).toFixed(0)} %`;
  const show = (kind: string, group: string): string => {
    const [subject, style] = [report.subject[kind]![group]!, report.style[kind]![group]!];
    return `subject ${share(subject.subjectTop1)} (first five ${share(subject.subjectTop5)}), style ${share(style.style)} of ${subject.pictures} drawings`;
  };
  return (
    'The judge knows 85 subjects and the five styles. It has never seen a judged subject in a judged style, nor a picture of a model. ' +
    `On the true drawings of the judged pairs it finds: ${show('drawings', 'pairs')}; after the autoencoder of the bundled model: ` +
    `${show('after the autoencoder', 'pairs')}. That is the ceiling.`
  );
}
