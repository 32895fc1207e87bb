from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import pytest

from datalake_service.config.compute import RayEngine as RaySettings
from datalake_service.config.compute import SparkEngine as SparkSettings
from datalake_service.engines.aws_lambda import FunctionSettings, LambdaEngine
from datalake_service.engines.local import LocalEngine
from datalake_service.engines.ray import RayEngine
from datalake_service.engines.spark import SparkEngine
from datalake_service.storage.open import open_store
from tests.engines.lakes import Lakes
from tests.engines.places import Expected, Place
from tests.engines.scenarios import World
from tests.support.aws import Aws, fresh_name
from tests.support.lambda_service import LambdaService, lambda_service
from tests.support.servers import S3Server

COMMAND = "is not installed; ./build.sh test --engines installs it"


@pytest.fixture(scope="session")
def local_rows(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    """What the LOCAL engine makes of each dataset: the others are compared with it."""
    return Lakes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="session")
def world(aws: Aws, s3_server: S3Server) -> World:
    """The services around all engines."""
    return World(aws, s3_server)


@pytest.fixture(scope="session")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """What the LOCAL engine makes of each example, in folders."""
    folder = tmp_path_factory.mktemp("expected")
    return Expected(Place(LocalEngine(concurrency=1), world, lambda: open_store(folder / fresh_name()), {}))


@pytest.fixture(scope="session")
def ray_engine(world: World) -> Iterator[RayEngine]:
    """A Ray of its own with two processors, on 127.0.0.1; its machine knows the services of the world."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip(f"ray {COMMAND}")
    engine = RayEngine(RaySettings.model_validate({"computeEngineType": "RAY", "concurrency": 2}), turn_seconds=0.5)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        engine._cluster.connect()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def spark_engine(world: World) -> Iterator[SparkEngine]:
    """A Spark on this machine with two threads, which knows the services of the world."""
    require_spark()
    settings = spark_settings(master="local[2]")
    known = {f"spark.executorEnv.{name}": value for name, value in world.environment.items()}
    settings = settings.model_copy(update={"spark_conf": {**settings.spark_conf, **known}})
    engine = SparkEngine(settings, turn_seconds=1.0)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def function(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaService]:
    """A function that knows the services of the world; what is in its image is said by each test."""
    s3 = world.s3.options
    keys = {"S3_ENDPOINT_URL": s3["endpoint_url"], "S3_ACCESS_KEY": s3["access_key"], "S3_SECRET_KEY": s3["secret_key"]}
    with lambda_service(tmp_path_factory.mktemp("image"), variables=world.environment | keys) as service:
        yield service


@pytest.fixture
def surroundings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the services of the world."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def ray_place(ray_engine: RayEngine, world: World, surroundings: None) -> Place:
    """Ray, with lakes in buckets."""
    return Place(ray_engine, world, world.s3.make_store, {"computeEngineType": "RAY", "concurrency": 2})


@pytest.fixture
def spark_place(spark_engine: SparkEngine, world: World, surroundings: None) -> Place:
    """Spark, with lakes in buckets."""
    settings = {"computeEngineType": "SPARK", "master": "local[2]", "driverMemoryInMegabytes": 700}
    return Place(spark_engine, world, world.s3.make_store, settings)


@pytest.fixture
def lambda_place(function: LambdaService, world: World, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A Lambda function, with lakes in buckets; one invocation at a time, because each environment loads everything."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", function.endpoint_url)
    function.reset()
    engine = LambdaEngine(FunctionSettings("datalake", 1, 60), region="eu-west-1", lost_seconds=0.05)
    settings = {"computeEngineType": "LAMBDA", "functionName": "datalake", "concurrency": 2}
    return Place(engine, world, world.s3.make_store, settings, function.deploy)


@pytest.fixture(params=["lambda", "ray", "spark"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each engine, one after the other."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def require_spark() -> None:
    """Skip if it cannot run here."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip(f"pyspark {COMMAND}")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or newer: apt-get install openjdk-17-jre-headless")


def spark_settings(**settings: object) -> SparkSettings:
    """Settings of the SPARK engine."""
    conf = {"spark.sql.shuffle.partitions": "2"}
    document = {"computeEngineType": "SPARK", "driverMemoryInMegabytes": 700, "sparkConf": conf} | settings
    return SparkSettings.model_validate(document)
