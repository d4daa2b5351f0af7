"""What Airflow's provider discovery asks for."""

from __future__ import annotations

from typing import Any

TRAIN_QUEUE = {
    "description": "Queue of the task `train`, unless the pipeline's YAML has `train.queue`. Empty: the default one.\n",
    "version_added": None,
    "type": "string",
    "example": "train",
    "default": "",
}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider, in the shape of Airflow's provider_info schema."""
    name = "Autoencoder"
    return {
        "package-name": "airflow-provider-autoencoder",
        "name": name,
        "description": "Autoencoders that watch, explain and repair tables.",
        "integrations": [
            {
                "integration-name": name,
                "tags": ["software"],
            }
        ],
        "extra-links": ["ae_plugin.provider.links.ModelsLink", "ae_plugin.provider.links.RunsLink"],
        "operators": [
            {
                "integration-name": name,
                "python-modules": [
                    "ae_plugin.provider.operators",
                    "ae_plugin.provider.followups",
                    "ae_plugin.provider.latent",
                ],
            }
        ],
        "asset-uris": [{"schemes": ["ae"], "handler": "ae_plugin.provider.assets.sanitize_uri"}],
        "task-decorators": [
            {"name": "autoencoder_score", "class-name": "ae_plugin.provider.decorators.autoencoder_score"},
        ],
        "sensors": [{"integration-name": name, "python-modules": ["ae_plugin.provider.sensors"]}],
        "config": {"ae_plugin": {"description": "Defaults of all pipelines.", "options": {"train_queue": TRAIN_QUEUE}}},
    }
