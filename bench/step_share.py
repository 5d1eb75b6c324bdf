"""
What share of a training step is not the network's own forward and backward pass?

    python bench/step_share.py [--config YAML ...] [--repeats 20]

Both are timed in turn, in one process, on the same network and sizes: an episode of k
inner steps (draws, alignment, masking, warping, losses, optimiser and all), and k times
the gradient of the network's output alone. Run it while nothing else runs.
"""

import argparse
import time
from pathlib import Path

import numpy as np

DEFAULT = Path(__file__).parents[1] / "config" / "meta_trus.yaml"


def random_task(config: object) -> dict[str, np.ndarray]:
    """Return the fields of one task with a leading axis of one: smooth balls."""
    rng = np.random.default_rng(0)

    def ball(shape: tuple[int, ...]) -> np.ndarray:
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        centre = (np.array(shape) - 1) / 2
        inside = (((grid - centre) / (0.35 * np.array(shape))) ** 2).sum(-1) < 1
        return inside.astype(np.float32)[None]

    moving, fixed = config.dataset.moving_shape, config.dataset.fixed_shape
    eye, ones = np.eye(4, dtype=np.float32), np.ones(3, np.float32)
    task = dict(
        moving_image=rng.random(moving, np.float32),
        fixed_image=rng.random(fixed, np.float32),
        moving_labels=ball(moving),
        fixed_labels=ball(fixed),
        num_labels=np.int32(1),
        moving_affine=eye,
        fixed_affine=eye,
        moving_spacing=ones,
        fixed_spacing=ones,
    )
    return {name: np.asarray(value)[None] for name, value in task.items()}


def main() -> None:
    """Time both and print the share."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", nargs="+", default=[str(DEFAULT)])
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    from deepreg_meta.command_line import prepare_tensorflow
    from deepreg_meta.config import load_config

    config = load_config(args.config)
    prepare_tensorflow(None, False)
    import tensorflow as tf

    from deepreg_meta.training import build_model

    model = build_model(config, num_episodes=10**6)
    steps, network = config.meta.inner_steps, model.network
    task = {name: tf.constant(value) for name, value in random_task(config).items()}
    size = (config.train.preprocess.batch_size, *config.dataset.fixed_shape)
    image = tf.random.uniform(size)

    @tf.function
    def episode() -> tf.Tensor:
        return model.train_step(task)["loss"]

    @tf.function
    def network_only() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(network(image, image, training=True))
        return tape.gradient(value, network.trainable_variables)

    def seconds(call: object) -> float:
        start = time.perf_counter()
        tf.nest.map_structure(lambda tensor: tensor.numpy(), call())
        return time.perf_counter() - start

    for call in (episode, network_only, network_only):
        seconds(call)
    whole, alone = [], []
    for _ in range(args.repeats):
        whole.append(seconds(episode) / steps)
        alone.append(np.mean([seconds(network_only) for _ in range(steps)]))
    shares = 1 - np.array(alone) / np.array(whole)
    print(
        f"grid {config.dataset.fixed_shape}, {network.backbone.count_params()} weights"
    )
    print(f"inner step            {1e3 * np.median(whole):8.1f} ms")
    print(f"network forward+back  {1e3 * np.median(alone):8.1f} ms")
    low, middle, high = 100 * np.percentile(shares, [10, 50, 90])
    print(
        f"outside the network   {middle:8.1f} %  "
        f"(10th to 90th: {low:.1f} to {high:.1f})"
    )


if __name__ == "__main__":
    main()
