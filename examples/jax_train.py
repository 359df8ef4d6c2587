"""Train a small network in JAX with DualAdam instead of optax.adamw, and diagnose it."""

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from dualadam.jax import diagnose, dualadam, switch_rate_for

data = load_digits()
images, labels = jnp.asarray(data.images.reshape(-1, 64) / 16), jnp.asarray(data.target)
train_x, train_y, test_x, test_y = images[:1400], labels[:1400], images[1400:], labels[1400:]
init_key, order_key = jax.random.split(jax.random.key(0))
key1, key2 = jax.random.split(init_key)
params = {
    "weight1": jax.random.normal(key1, (64, 64)) / 8,
    "bias1": jnp.zeros(64),
    "weight2": jax.random.normal(key2, (64, 10)) / 8,
    "bias2": jnp.zeros(10),
}


def logits(params, x):
    hidden = jax.nn.relu(x @ params["weight1"] + params["bias1"])
    return hidden @ params["weight2"] + params["bias2"]


def loss(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()


steps = 300
rate = switch_rate_for(steps)
decays = {key: leaf.ndim > 1 for key, leaf in params.items()}  # biases do not decay
# was: optimizer = optax.adamw(1e-2, weight_decay=0.01, mask=decays)
optimizer = dualadam(1e-2, switch_rate=rate, weight_decay=0.01, mask=decays)
state = optimizer.init(params)


@jax.jit
def train_step(params, state, step):
    batch = jax.random.randint(jax.random.fold_in(order_key, step), (64,), 0, len(train_x))
    gradients = jax.grad(loss)(params, train_x[batch], train_y[batch])
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


for step in range(steps):
    params, state = train_step(params, state, step)
    if step == 9:  # mean w near 1 - alpha and a small ratio: a linear warm-up of Adam
        print(diagnosis := diagnose(state, switch_rate=rate))

accuracy = float((logits(params, test_x).argmax(1) == test_y).mean())
print(f"test accuracy {accuracy:.3f}")
assert diagnosis.groups[0].ratio < 0.1, diagnosis.as_dict()
assert accuracy > 0.88, accuracy
