"""Fine-tuning: an encoder that history trained, without labels, goes into a network of one's own that needs a few."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd

import ae_plugin


def delay_network(uri: str, frame: pd.DataFrame, minutes: np.ndarray, *, epochs: int = 20) -> keras.Model:
    """Train a network that says how late a flight arrives, from the champion's encoder on.

    Args:
        uri: the pipeline's output.
        frame: flights, as the pipeline's source has them.
        minutes: float32 [n], what to learn of each.
        epochs: of each of the two rounds.
    """
    inputs = ae_plugin.load(uri).inputs(frame)
    encoder = ae_plugin.encoder(uri)
    late = keras.layers.Dense(1)(keras.layers.Dropout(0.1)(encoder.output))
    network = keras.Model(encoder.inputs, late)
    for trainable, rate in ((False, 1e-2), (True, 1e-3)):  # the new layer first, then all of it, gently
        encoder.trainable = trainable
        network.compile(keras.optimizers.Adam(rate), "mse")
        network.fit(inputs, minutes, epochs=epochs, batch_size=32, verbose=0)
    return network


if __name__ == "__main__":
    flights = pd.read_parquet("sample_data/flights/date=2013-02-13").dropna(subset=["arr_delay"])
    known, asked = flights[:200], flights[200:]
    found = delay_network("out/flights", known, known["arr_delay"].to_numpy(np.float32))
    guessed = found.predict(ae_plugin.load("out/flights").inputs(asked), verbose=0)[:, 0]
    print(f"{np.abs(guessed - asked['arr_delay']).mean():.1f} minutes off, on average")
