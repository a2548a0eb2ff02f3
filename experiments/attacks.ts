import {
  adam,
  adaptiveKnockoff,
  annealedKd,
  askingAgain,
  attentionTransfer,
  classMeanKd,
  cmi,
  completedKd,
  constant,
  cosine,
  type DatasetPlugin,
  dafl,
  deepInversion,
  dfad,
  dfme,
  dfms,
  dfq,
  disguide,
  dist,
  dkd,
  dualStudents,
  experiment,
  fashionMnist,
  fast,
  fitNet,
  hardLabel,
  jbda,
  kd,
  knockoff,
  labelKd,
  labelSmoothing,
  learner,
  logitStandardisation,
  maze,
  mnist,
  nasty,
  noise,
  none,
  plainCnn,
  reweightedKd,
  scratch,
  sgd,
  skeptical,
  sureKd,
  transfer,
  transitionKd,
  zskt,
} from 'undistill';

/**
 * Every attack, at settings for two processor cores that are none of a paper's; `images` are out-of-distribution ones. But for those
 * that undo what a defence did to answers, of which there is nothing here: `bayesKd`, `ddaeKd`, `inverseKd`, `inverseKnockoff`; `authorisedKd`, who has a key;
 * and `partialKd`, which is `kd` with fewer images.
 */
export const everyAttack = (images: DatasetPlugin) => [
  scratch(),
  labelSmoothing(),
  // With the victim's images.
  kd(),
  annealedKd(),
  askingAgain(askingAgain.presets.modelGuard),
  completedKd({ k: 3 }),
  dkd({ warmup: 1 }),
  dkd({ warmup: 1, beta: 0 }),
  dist(),
  logitStandardisation(),
  skeptical(),
  classMeanKd(),
  sureKd(),
  transitionKd(),
  reweightedKd(),
  hardLabel(),
  labelKd(),
  jbda(),
  // With its weights too.
  attentionTransfer(),
  fitNet(),
  // With out-of-distribution images.
  transfer({ images }),
  knockoff({ images }),
  adaptiveKnockoff({ images }),
  dfms({ ...dfms.presets.mnistSmall, images }),
  // Without images, asking.
  noise(),
  dfme(dfme.presets.mnistSmall),
  maze(maze.presets.mnistSmall),
  dualStudents(dualStudents.presets.mnistSmall),
  dualStudents({ ...dualStudents.presets.mnistSmall, answers: 'label' }),
  disguide(disguide.presets.mnistSmall),
  disguide({ ...disguide.presets.mnistSmall, answers: 'label' }),
  // Without images, with the weights.
  dafl(dafl.presets.mnistSmall),
  deepInversion(deepInversion.presets.mnistSmall),
  zskt(zskt.presets.mnistSmall),
  dfad(dfad.presets.mnistSmall),
  dfq(dfq.presets.mnistSmall),
  cmi(cmi.presets.mnistSmall),
  fast(fast.presets.mnistSmall),
];

/** Its accuracy rises no more by the end of 6 epochs of all images, or of 12 of a fifth. */
export const smallTeacher = (epochs: number) =>
  learner(plainCnn({ width: 8 }), {
    epochs,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1 }),
  });

export const smallStudent = (epochs: number) =>
  learner(plainCnn({ width: 4 }), { epochs, batch: 64, optimizer: adam(), schedule: constant(1e-3) });

/** Every attack on an undefended teacher and on a nasty one; black boxes give a million answers at most. */
export const attacksOn = (name: string, data: DatasetPlugin, images: DatasetPlugin) =>
  experiment({
    name,
    about: 'Every attack on an undefended and on a nasty teacher',
    data,
    teacher: smallTeacher(6),
    students: [smallStudent(4)],
    defenses: [none(), nasty()],
    attacks: everyAttack(images),
    budget: 1_000_000,
    seeds: [0, 1, 2],
  });

export default attacksOn('attacks', mnist(), fashionMnist());
