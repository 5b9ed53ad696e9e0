"""What no schema says of deploy/: that the parts fit each other. `tests/packaging/run` calls it.

wiring.py parses FOLDER | kubernetes BUILT.yaml | compose FOLDER | systemd FOLDER
"""

import collections
import ipaddress
import pathlib
import re
import sys

import yaml

try:
    import tomllib
except ModuleNotFoundError:  # Python before 3.11
    import tomli as tomllib

problems = []


def must(holds, said):
    if not holds:
        problems.append(said)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", str(text)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def drain(vestibule):
    given = vestibule.get("drain", {})
    return seconds(given.get("delay", "5s")) + seconds(given.get("timeout", "25s"))


def paths(text):
    """The files that a configuration or a command line names."""
    code = re.sub(r"(^|\s)#.*", "", text)
    return set(re.findall(r"(?<![\w:/.])/(?:etc|run)/[\w./-]*\w", code))


def front(files, address):
    """oauth2-proxy's files and vestibule's say the same. `address` is how oauth2-proxy reaches vestibule."""
    vestibule = yaml.safe_load(files["vestibule.yaml"])
    alpha = yaml.safe_load(files["oauth2-proxy.yaml"])
    core = tomllib.loads(files["oauth2-proxy.cfg"])
    [upstream] = alpha["upstreamConfig"]["upstreams"]
    must(upstream["uri"] == address, f"oauth2-proxy's upstream is {upstream['uri']}, and vestibule is at {address}")
    must(seconds(upstream["timeout"]) > 600, "oauth2-proxy gives up before vestibule's upstream_first_byte_timeout")
    must(seconds(vestibule["limits"]["keep_alive_timeout"]) > 90, "oauth2-proxy would use connections that vestibule closes")
    public = vestibule["public_url"]
    must(core["redirect_url"] == f"{public}/oauth2/callback", f"redirect_url is not below {public}")
    must(core.get("cookie_secure", True) == public.startswith("https:"), "cookie_secure does not fit public_url")
    named = {header["name"]: header for header in alpha["injectRequestHeaders"]}
    must(not any(header.get("preserveRequestValue") for header in named.values()), "a client's own header would stay")
    for read in vestibule["identity"]["reads"]:
        must(f"X-Forwarded-{read.title()}" in named, f"vestibule reads `{read}`, which oauth2-proxy leaves to the client")
    proof = vestibule["trust"].get("secret_header")
    if proof:
        values = named.get(proof["name"], {}).get("values")
        must(values == [{"secretSource": {"fromFile": proof["value_file"]}}], "oauth2-proxy does not send the proof")
    return vestibule


def pinned(what, image):
    tag = image.rpartition(":")[2]
    must(re.fullmatch(r"v?\d[\w.-]*", tag), f"{what}: no fixed version: {image}")


def kubernetes(built):
    objects = collections.defaultdict(dict)
    for each in yaml.safe_load_all(pathlib.Path(built).read_text()):
        objects[each["kind"]][each["metadata"]["name"]] = each
    [deployment] = objects["Deployment"].values()
    pod = deployment["spec"]["template"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    must(pod["automountServiceAccountToken"] is False, "the pod gets a service account's token")
    must(pod["securityContext"]["runAsNonRoot"], "the pod may run as root")
    must(pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, "the pod has no seccomp profile")
    sidecars = pod["initContainers"]
    order = [container["name"] for container in sidecars + pod["containers"]]
    must(order == ["litellm", "vestibule", "oauth2-proxy"], f"they start as {order}")
    must(all(each.get("restartPolicy") == "Always" and "startupProbe" in each for each in sidecars), "not native sidecars")

    def held(kind, name):
        must(name in objects[kind], f"there is no {kind} {name}")
        each = objects[kind].get(name, {})
        return {**each.get("data", {}), **each.get("stringData", {})}

    def volume(each):
        if "configMap" in each:
            return held("ConfigMap", each["configMap"]["name"])
        if "secret" in each:
            return held("Secret", each["secret"]["secretName"])
        parts = each.get("projected", {}).get("sources", [])
        return {key: value for part in parts for key, value in held("Secret", part["secret"]["name"]).items()}

    volumes = {each["name"]: volume(each) for each in pod["volumes"]}
    texts, secrets = {}, {}
    for container in sidecars + pod["containers"]:
        name = container["name"]
        pinned(name, container["image"])
        security = container["securityContext"]
        must(not security["allowPrivilegeEscalation"] and security["readOnlyRootFilesystem"], f"{name}: not locked down")
        must(security["capabilities"] == {"drop": ["ALL"]} and security["runAsUser"] > 0, f"{name}: has rights to spare")
        must({"cpu", "memory"} <= set(container["resources"]["requests"]), f"{name}: asks for no resources")
        must("memory" in container["resources"]["limits"], f"{name}: may take all the memory")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            must(name == "oauth2-proxy" or "exec" in container.get(probe, {"exec": 0}), f"{name}: {probe} needs the pod's address")
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            must(not reference or reference["key"] in held("Secret", reference["name"]), f"{name}: no value for {variable['name']}")
        there = {}
        for mount in container["volumeMounts"]:
            must(mount["name"] in volumes, f"{name}: there is no volume {mount['name']}")
            there.update({f"{mount['mountPath']}/{key}": value for key, value in volumes.get(mount["name"], {}).items()})
        configs = {path.rpartition("/")[2]: text for path, text in there.items() if path.startswith("/etc/")}
        texts.update(configs)
        secrets[name] = {path for path in there if path.startswith("/run/")}
        must(name != "vestibule" or "/etc/vestibule/vestibule.yaml" in there, "vestibule has no configuration")
        for path in paths("\n".join([*container.get("args", []), *configs.values()])):
            must(path in there, f"{name}: nothing is mounted at {path}")
    must("/run/secrets/proof" in secrets["vestibule"] & secrets["oauth2-proxy"], "the two do not share the proof")
    must(not secrets["litellm"], "LiteLLM gets vestibule's secrets")
    must(len({each["securityContext"]["runAsUser"] for each in sidecars + pod["containers"]}) == 3, "two share a user")

    vestibule = front(texts, "http://127.0.0.1:4180")
    must(vestibule["listen"] == "127.0.0.1:4180" and "admin" not in vestibule, "vestibule is reached from outside the pod")
    must(vestibule["litellm"]["url"] == "http://127.0.0.1:4000", "vestibule looks for LiteLLM elsewhere")
    arguments = " ".join(sidecars[0]["args"])
    must("--host 127.0.0.1 --port 4000" in arguments, f"LiteLLM is reached from outside the pod: {arguments}")
    ports = [(each["name"], port["containerPort"]) for each in sidecars + pod["containers"] for port in each.get("ports", [])]
    must(ports == [("oauth2-proxy", 4190)], f"ports of the pod: {ports}")
    listening = yaml.safe_load(texts["oauth2-proxy.yaml"])["server"]["bindAddress"]
    must(listening == "0.0.0.0:4190", f"oauth2-proxy listens at {listening}")
    stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + drain(vestibule)
    must(pod["terminationGracePeriodSeconds"] >= stop + 60, "the answers that run have less than a minute to end")

    [service] = objects["Service"].values()
    must(service["spec"]["selector"].items() <= labels.items(), "the Service finds no pod")
    must([port["targetPort"] for port in service["spec"]["ports"]] == ["http"], "the Service leads past oauth2-proxy")
    [budget] = objects["PodDisruptionBudget"].values()
    must(budget["spec"]["selector"]["matchLabels"].items() <= labels.items(), "the PodDisruptionBudget finds no pod")
    policies = [each["spec"] for each in objects["NetworkPolicy"].values()]
    must({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies, "what is not allowed is not forbidden")
    opened = [port["port"] for each in policies for rule in each.get("ingress", []) for port in rule.get("ports", ["every"])]
    must(opened == [4190], f"reached from outside: {opened}")
    must(all(rule.get("from") for each in policies for rule in each.get("ingress", [])), "everybody may come")
    out = {port["port"]: rule["to"] for each in policies for rule in each.get("egress", []) for port in rule["ports"]}
    must(set(out) == {53, 5432, 443}, f"reaches {sorted(out)}")
    closed = [ipaddress.ip_network(each) for to in out[443] for each in to["ipBlock"]["except"]]
    for inner in ("169.254.169.254", "10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1", "fd00::1", "fe80::1", "::1"):
        address = ipaddress.ip_address(inner)
        must(any(address in net for net in closed if net.version == address.version), f"LiteLLM may be led to {inner}")
    for each in policies:
        must(each["podSelector"].get("matchLabels", {}).items() <= labels.items(), "a NetworkPolicy finds no pod")


def compose(folder):
    folder = pathlib.Path(folder)
    text = (folder / "compose.yaml").read_text()
    for name in re.findall(r"\$\{(\w+)(?!\w|:\?)", text):
        must(False, f"nothing is said where {name} is not set")
    whole = yaml.safe_load(text)
    services, texts = whole["services"], {}
    for name, service in services.items():
        if "image" in service:
            pinned(name, service["image"])
        must("healthcheck" in service or name in ("vestibule", "oauth2-proxy"), f"{name}: no health check")
        there = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        must({secret.rpartition("/")[2] for secret in there} <= set(whole["secrets"]), f"{name}: a secret that is not declared")
        read = "\n".join(service.get("command", []))
        for source, target in (each.split(":")[:2] for each in service.get("volumes", [])):
            if source.startswith("."):
                there.add(target)
                must((folder / source).is_file(), f"{name}: there is no {source}")
                texts[target.rpartition("/")[2]] = (folder / source).read_text()
                read += "\n" + (folder / source).read_text()
        for path in paths(read):
            must(path in there, f"{name}: nothing is mounted at {path}")
        must(name != "vestibule" or "/etc/vestibule/vestibule.yaml" in there, "vestibule has no configuration")
        for port in service.get("ports", []):
            must(name in ("oauth2-proxy", "dex") and port.startswith("127.0.0.1:"), f"{name}: published as {port}")

    def beside(name):
        mine = set(services[name]["networks"])
        return {other for other, service in services.items() if other != name and mine & set(service["networks"])}

    must(beside("litellm") == {"vestibule", "postgres"}, f"LiteLLM is reached by {beside('litellm')}")
    must(beside("vestibule") == {"oauth2-proxy", "litellm", "postgres"}, f"vestibule is reached by {beside('vestibule')}")
    must(beside("postgres") == {"vestibule", "litellm"}, f"Postgres is reached by {beside('postgres')}")
    for name, network in whole["networks"].items():
        must(network.get("internal") or name in ("people", "providers"), f"the network {name} has a way out")

    vestibule = front(texts, "http://vestibule:4180")
    must(vestibule["listen"] == "0.0.0.0:4180" and "admin" not in vestibule, f"vestibule listens at {vestibule['listen']}")
    must(seconds(services["vestibule"]["stop_grace_period"]) > drain(vestibule), "vestibule is killed while it drains")
    dex, alpha = yaml.safe_load(texts["dex.yaml"]), yaml.safe_load(texts["oauth2-proxy.yaml"])
    [provider], [client] = alpha["providers"], dex["staticClients"]
    must(provider["oidcConfig"]["issuerURL"] == dex["issuer"], "oauth2-proxy and Dex differ in the issuer")
    must(provider["clientID"] == client["id"], "Dex does not know oauth2-proxy")
    must(client["redirectURIs"] == [f"{vestibule['public_url']}/oauth2/callback"], "Dex leads back elsewhere")
    must(not yaml.safe_load(texts["litellm.yaml"])["general_settings"].get("enable_oauth2_proxy_auth"), "LiteLLM believes headers")


def systemd(folder):
    folder = pathlib.Path(folder)
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    unit = collections.defaultdict(list)
    for key, value in re.findall(r"^(\w+)=(.*)$", texts["vestibule.service"], re.MULTILINE):
        unit[key].append(value)
    vestibule = front(texts, "unix:///run/vestibule/proxy.sock")
    must(vestibule["listen"] == f"unix:/run/{unit['RuntimeDirectory'][0]}/proxy.sock", "the unit makes another folder for the socket")
    must(vestibule["trust"].get("uids"), "every process of the machine may say who somebody is")
    must(int(unit["TimeoutStopSec"][0]) > drain(vestibule), "vestibule is killed while it drains")
    must("78" in unit["RestartPreventExitStatus"][0].split(), "a wrong configuration is started again and again")
    must("PrivateUsers" not in unit, "vestibule would see every peer as nobody")
    loaded = {value.partition(":")[0] for value in unit["LoadCredential"]}
    asked = set(re.findall(r"\$\{CREDENTIALS_DIRECTORY:-/etc/vestibule/secrets\}/([\w-]+)", texts["vestibule.yaml"]))
    must(loaded == asked, f"the unit loads {sorted(loaded)}, the configuration reads {sorted(asked)}")


def parses(folder):
    for path in sorted(pathlib.Path(folder).rglob("*")):
        try:
            if path.suffix == ".yaml":
                list(yaml.safe_load_all(path.read_text()))
            elif path.suffix == ".cfg":
                tomllib.loads(path.read_text())
        except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
            must(False, f"{path}: {error}")


{"parses": parses, "kubernetes": kubernetes, "compose": compose, "systemd": systemd}[sys.argv[1]](sys.argv[2])
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
