"""Fashion-MNIST without labels, then with few: a ViL and a ViT of equal size, pre-trained by masked prediction or not.

    python experiments/ch19_self_supervision.py        an hour of one core; see _runs.py for --only, --seeds

Patches of 7 pixels (16 tokens), four blocks, some 75,000 parameters.  Pre-training: 3,000 updates of 64 of the first 55,000
training images, 60 % of the patches masked, labels unread.  Then 10, 50 or 250 labels for each class, which the seed draws:
all weights are trained (300 updates of 32), or the features stay as they are and scikit-learn's logistic regression
and 5 nearest neighbours read them.  Judged on the first 2,000 test images.

parts   choose     rate of pre-training, by the loss at its end, for each target; then the rate of fine-tuning, judged on training
                   images that nothing else sees.  Both with a seed of their own
        pretrain   five seeds of each model; of ViL's seed 0 the weights, book/results/ch19_vil.npz
        labels     fine-tuning, from pre-trained weights and from scratch
        frozen     logistic regression and nearest neighbours: pre-trained, untrained, and the pixels themselves
        target     ViL again, pre-trained with the other target at its own rate: fine-tuned, and frozen
        direction  a small ViL of version 1 that reads one way, and one that alternates: error by place
Writes book/results/ch19_self_supervision.json.
"""

import copy
import io
import warnings
from functools import cache, partial

import numpy as np
import torch
from _record import RESULTS, packed
from _runs import RUNS, Runs, best_rate
from _small import correct, minimise, shuffled, train
from torch import nn

from vil_lite import VisionLSTM, keep_freed_memory
from vil_lite._files import write
from vil_lite.complexity import parameters
from vil_lite.data import fashion
from vil_lite.masked import MaskedModel, masked_loss, patches, random_mask

BUILT = RUNS.parents[1] / "_build" / "ch19_self_supervision"
SHARE, UNLABELLED, TEST, SHOWN = 0.6, 55_000, 2000, 6
PATCH, TOKENS = 7, 16
PRETRAIN = {"updates": 3000, "batch": 64}
RATES, TUNED = (3e-3, 1e-2, 3e-2, 1e-1), (100,)
OTHER_TARGET = [("ViL", "normalised", rate) for rate in RATES]  # tried as well
FINE = {10: 300, 50: 300, 250: 300}  # labels for each class: updates
FINE_BATCH, FINE_RATES, FINE_TUNED = 32, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), 50
NEIGHBOURS, SEARCHED = 5, 5000


def vil(version=2, dim=48, design="alternating_bidirectional"):
    size = {"patch_size": PATCH, "image_size": 28, "channels": 1, "num_classes": 0, "num_heads": 2, "form": "parallel"}
    return VisionLSTM(dim, 4, version, design=design, pooling="avg", **size)


def vit():
    from timm.models import VisionTransformer

    size = {"img_size": 28, "patch_size": PATCH, "in_chans": 1, "embed_dim": 38, "depth": 4, "num_heads": 2}
    return VisionTransformer(num_classes=0, class_token=False, global_pool="avg", fc_norm=False, **size)


MODELS = {"ViL": vil, "ViT": vit}
STARTS = ("pre-trained", "scratch")
READ = ("", ", all tokens")  # the mean of the tokens, or all side by side


@cache
def data():
    """(unlabelled and labelled pool), (held out to choose with), (test): images, labels each."""
    training, test = fashion.load()
    pool = training.images[:UNLABELLED], training.labels[:UNLABELLED]
    held = training.images[UNLABELLED:][:2000], training.labels[UNLABELLED:][:2000]
    return pool, held, (test.images[:TEST], test.labels[:TEST])


def pretrain(make, seed, updates, rate, target):
    """A MaskedModel, and its losses: means of 50 updates."""
    torch.manual_seed(seed)
    net, images = MaskedModel(make(), normalise=target == "normalised"), data()[0][0]
    batches, generator = shuffled(len(images), seed, PRETRAIN["batch"]), torch.Generator().manual_seed(seed)

    def loss():
        batch = next(batches)
        return net.loss(images[batch], random_mask(len(batch), TOKENS, SHARE, generator))

    losses = [value for value, _ in minimise(net, loss, updates, rate)]
    return net.eval(), [round(float(np.mean(losses[n : n + 50])), 5) for n in range(0, updates, 50)]


def pretrained(name, make, seed, updates, rate, target):
    """The same, kept in _build: later parts start from it."""
    path = BUILT / f"{name} {updates} {rate} {target} {seed}.pt"
    if not path.is_file():
        net, losses = pretrain(make, seed, updates, rate, target)
        content = io.BytesIO()
        torch.save({"net": net.state_dict(), "losses": losses}, content)
        write(path, content.getvalue())
    saved = torch.load(path, weights_only=True)
    net = MaskedModel(make(), normalise=target == "normalised")
    net.load_state_dict(saved["net"])
    return net.eval(), saved["losses"]


@torch.no_grad()
def errors(net, images, share=SHARE, seed=0):
    """Mean squared error of masked pixels by place: (16,), of all images.  The masks are the same for every model."""
    total, hidden = torch.zeros(TOKENS), torch.zeros(TOKENS)
    for n, part in enumerate(images.split(500)):
        mask = random_mask(len(part), TOKENS, share, torch.Generator().manual_seed(seed + n))
        error = (net(part, mask) - patches(part, PATCH)).square().mean(-1) * mask
        total, hidden = total + error.sum(0), hidden + mask.sum(0)
    return (total / hidden).tolist()


@torch.no_grad()
def features(backbone, images, all_tokens=False):
    """(N, dim): the mean of the tokens after the last norm; or (N, S * dim): all of them, side by side."""
    tokens = torch.cat([backbone.eval().forward_features(part) for part in images.split(500)])
    return tokens.flatten(1) if all_tokens else tokens.mean(1)


@cache
def labelled(each, seed):
    """Rows of the pool: `each` of every class, drawn by the seed."""
    labels, generator = data()[0][1], torch.Generator().manual_seed(seed)
    rows = [(labels == c).nonzero()[:, 0] for c in range(10)]
    return torch.cat([r[torch.randperm(len(r), generator=generator)[:each]] for r in rows])


def read(known, labels, asked, truth):
    """How often logistic regression and 5 neighbours are right, in %."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    readers = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)),
        "neighbours": KNeighborsClassifier(NEIGHBOURS),
    }
    found = {}
    for name, reader in readers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            reader.fit(known.numpy(), labels.numpy())
            found[name] = 100 * float(reader.score(asked.numpy(), truth.numpy()))
    return found


def frozen(get, seed):
    """{labels: {linear, neighbours}} of features that stay as they are.  get(): a function from images to (N, features)."""
    look, (pool, _, test) = get(), data()
    asked = look(test[0])
    found = {}
    for each in FINE:
        rows = labelled(each, seed)
        found[each] = read(look(pool[0][rows]), pool[1][rows], asked, test[1])
    return found


def fine(backbone, each, seed, updates, rate, judged):
    """% right on the judged images after all weights were trained on `each` labels a class.  backbone: a function."""
    torch.manual_seed(1000 + seed)
    model = backbone()
    model.reset_classifier(10)
    nn.init.trunc_normal_(model.head.weight, std=0.02)  # the same for both kinds of model
    nn.init.zeros_(model.head.bias)
    rows, pool = labelled(each, seed), data()[0]
    images, labels = pool[0][rows], pool[1][rows]
    train(model.train(), images, labels, shuffled(len(rows), seed, FINE_BATCH), updates, rate)
    right = correct(model, *judged)
    return 100 * sum(right) / len(right)


def as_text(images):
    """Images in [0, 1]."""
    return packed((images * 255).round().to(torch.uint8))


def show(net):
    """What the page shows: test images, their nearest training images by features and by pixels, and their classes."""
    pool, _, test = data()
    # one of each of the classes that a look confuses least and most
    rows = [int((test[1] == c).nonzero()[2]) for c in (1, 3, 6, 7, 8, 9)][:SHOWN]
    looks = {"features": partial(features, net.backbone), "pixels": lambda x: x.flatten(1)}
    found = {"images": as_text(test[0][rows]), "labels": test[1][rows].tolist()}
    for name, look in looks.items():
        near = torch.cdist(look(test[0][rows]), look(pool[0][:SEARCHED])).topk(NEIGHBOURS, largest=False).indices
        found[name] = {"images": as_text(pool[0][near.flatten()]), "labels": pool[1][near].tolist()}
    return found


def started(name, make, seed, how, start):
    """A function that gives the backbone."""
    if start == "scratch":
        return make
    return lambda: copy.deepcopy(pretrained(name, make, seed, *how)[0].backbone)


def collect(runs, finish, parts):
    updates = 4 if runs.tiny else PRETRAIN["updates"]
    tune = FINE_TUNED
    fine_updates = {each: 2 if runs.tiny else u for each, u in FINE.items()}
    tried = [(name, "pixels", rate) for name in MODELS for rate in RATES] + OTHER_TARGET
    tuned = finish(
        {
            f"choose {name} {target} {rate} {seed}": partial(
                lambda name, *how: -pretrained(name, MODELS[name], *how)[1][-1],
                *(name, seed, updates, rate, target),
            )
            for name, target, rate in tried
            for seed in TUNED
        }
    )
    if tuned is None:
        return None
    reached = {job.replace("choose", "rate", 1): value for job, value in tuned.items()}
    target = "pixels"  # whose guesses can be looked at; part "target" compares the other
    rates = {name: best_rate(reached, f"{name} {target}", RATES, TUNED) for name in MODELS}
    # A run's name holds its rates: a wider search must not find runs of another one.
    at = {name: f"{name} {rates[name]}" for name in MODELS}
    _, held, test = data()
    if runs.tiny:
        held, test = ([x[:100] for x in part] for part in (held, test))
    jobs = {}
    for name, make in MODELS.items():
        for start in STARTS:
            for rate in FINE_RATES:
                for seed in TUNED:
                    backbone = started(name, make, seed, (updates, rates[name], target), start)
                    jobs[f"rate {at[name]} {start} {rate} {seed}"] = partial(
                        fine, backbone, tune, seed, fine_updates[tune], rate, held
                    )
    tuned_fine = finish(jobs)
    if tuned_fine is None:
        return None
    fine_rates = {
        name: {start: best_rate(tuned_fine, f"{at[name]} {start}", FINE_RATES, TUNED) for start in STARTS}
        for name in MODELS
    }
    found = {
        "plan": {
            **PRETRAIN,
            "updates": updates,
            "unlabelled": UNLABELLED,
            "share": SHARE,
            "test": TEST,
            "fine": fine_updates,
            "fine_batch": FINE_BATCH,
            "neighbours": NEIGHBOURS,
            "searched": SEARCHED,
            "target": target,
            "rates": rates,
            "fine_rates": fine_rates,
        },
        "parameters": {name: parameters(make()) for name, make in MODELS.items()},
        "chosen": tuned | tuned_fine,
    }
    how = {name: (updates, rates[name], target) for name in MODELS}

    def fine_at(name, start):
        return f"{at[name]} {start} {fine_rates[name][start]}"

    def of(done, name):
        return [done[f"{name} {seed}"] for seed in runs.seeds]

    jobs = {}
    if "pretrain" in parts:
        for seed in runs.seeds:
            for name, make in MODELS.items():
                jobs[f"pretrain {at[name]} {seed}"] = partial(about, name, make, seed, how[name], runs.tiny)
    if "labels" in parts:
        for seed in runs.seeds:
            for name, make in MODELS.items():
                for start in STARTS:
                    for each in FINE:
                        backbone = started(name, make, seed, how[name], start)
                        job = f"labels {fine_at(name, start)} {each} {seed}"
                        rate = fine_rates[name][start]
                        jobs[job] = partial(fine, backbone, each, seed, fine_updates[each], rate, test)
    if "frozen" in parts:
        for seed in runs.seeds:
            for name, make in MODELS.items():
                trained = started(name, make, seed, how[name], "pre-trained")
                for start, backbone in (("pre-trained", trained), ("untrained", make)):
                    for what in READ:
                        look = partial(looking, backbone, seed, all_tokens=bool(what))
                        jobs[f"frozen {at[name]} {start}{what} {seed}"] = partial(frozen, look, seed)
            jobs[f"frozen pixels as they are {seed}"] = partial(frozen, lambda: lambda x: x.flatten(1), seed)
    if "target" in parts:
        other = (updates, best_rate(reached, "ViL normalised", RATES, TUNED), "normalised")
        for seed in runs.seeds:
            backbone = started("ViL", vil, seed, other, "pre-trained")
            for each in FINE:
                jobs[f"target {other[1]} {each} {seed}"] = partial(
                    fine, backbone, each, seed, fine_updates[each], fine_rates["ViL"]["pre-trained"], test
                )
            jobs[f"target {other[1]} frozen {seed}"] = partial(frozen, partial(looking, backbone, seed), seed)
    if "direction" in parts:
        for seed in runs.seeds:
            for design in ("unidirectional", "alternating_bidirectional"):
                small = partial(vil, 1, 32, design)
                jobs[f"direction {design} {seed}"] = partial(
                    lambda design, small, seed: errors(
                        pretrain(small, seed, 3 if runs.tiny else 200, 3e-3, "pixels")[0], data()[2][0]
                    ),
                    *(design, small, seed),
                )
    done = finish(jobs)
    if done is None:
        return None
    if "pretrain" in parts:
        found["pretrain"] = {name: of(done, f"pretrain {at[name]}") for name in MODELS}
        found["blind"] = blind()
    if "labels" in parts:
        found["labels"] = {
            name: {
                start: {each: of(done, f"labels {fine_at(name, start)} {each}") for each in FINE} for start in STARTS
            }
            for name in MODELS
        }
    if "frozen" in parts:
        found["frozen"] = {
            f"{name} {start}{what}": of(done, f"frozen {at[name]} {start}{what}")
            for name in MODELS
            for start in ("pre-trained", "untrained")
            for what in READ
        }
        found["frozen"]["pixels as they are"] = of(done, "frozen pixels as they are")
    if "target" in parts:
        found["target"] = {each: of(done, f"target {other[1]} {each}") for each in FINE}
        found["target"]["frozen"] = of(done, f"target {other[1]} frozen")
    if "direction" in parts:
        designs = ("unidirectional", "alternating_bidirectional")
        found["direction"] = {design: of(done, f"direction {design}") for design in designs}
    return found


def looking(backbone, seed, all_tokens=False):
    """features() of a backbone, which is made with the seed."""
    torch.manual_seed(seed)
    return partial(features, backbone(), all_tokens=all_tokens)


def about(name, make, seed, how, tiny):
    """What is kept of a pre-training: its losses, the errors of its guesses by place, and of ViL's seed 0 what is shown."""
    net, losses = pretrained(name, make, seed, *how)
    found = {"losses": losses}
    if not net.normalise:
        found["errors"] = errors(net, data()[2][0])
    if name == "ViL" and seed == 0:
        found["shown"] = show(net)
        if not tiny:
            content = io.BytesIO()
            np.savez_compressed(content, **{key: value.half().numpy() for key, value in net.state_dict().items()})
            write(RESULTS / "ch19_vil.npz", content.getvalue())
    return found


@torch.no_grad()
def blind():
    """The error by place of a guess that sees nothing: the mean of all unlabelled images."""
    pool, _, test = data()
    mean = patches(pool[0].mean(0, keepdim=True), PATCH)
    mask = torch.ones(1, dtype=torch.bool)
    return [
        float(masked_loss(mean[:, n], x, mask.expand(len(x)))) for n, x in enumerate(patches(test[0], PATCH).unbind(1))
    ]


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs(
        "ch19_self_supervision",
        __doc__,
        ("choose", "pretrain", "labels", "frozen", "target", "direction"),
        range(5),
    )
    runs.record(partial(collect, runs))
