"""Who speaks to a cloud's APIs: the OS_* environment and clouds.yaml of its first users."""

from pathlib import Path

from topology.cloud import PROJECTS, Cloud
from unryu.files import write_private


def environment(project: str | None = None) -> dict[str, str]:
    """What the OpenStack client reads: a project's own user, or the administrator in a project made later."""
    return of(Cloud.here(), project)


def of(cloud: Cloud, project: str | None = None) -> dict[str, str]:
    project = project or PROJECTS[0]
    user = project if project in PROJECTS else "admin"
    return {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": cloud.auth_url,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": user,
        "OS_PASSWORD": cloud.password(user),
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_NAME": project,
        "OS_PROJECT_DOMAIN_NAME": "Default",
        **({"OS_CACERT": cloud.authority} if cloud.authority else {}),
    }


def write_clouds(cloud: Cloud) -> None:
    """clouds.yaml: `unryu` for the first tenant, `unryu-alt` for the second, `unryu-admin`."""
    import yaml

    def entry(project: str) -> dict[str, object]:
        words = of(cloud, project)
        return {
            "auth": {name: words[f"OS_{name.upper()}"] for name in (
                "auth_url", "username", "password", "user_domain_name", "project_name", "project_domain_name")},
            "identity_api_version": 3,
            **({"cacert": cloud.authority} if cloud.authority else {}),
        }

    names = {project: "unryu" if project == PROJECTS[0] else f"unryu-{project}" for project in PROJECTS}
    clouds = {"clouds": {name: entry(project) for project, name in names.items()}}
    write_private(clouds_file(cloud), yaml.safe_dump(clouds, sort_keys=False))


def clouds_file(cloud: Cloud) -> Path:
    return cloud.state / "clouds.yaml"
