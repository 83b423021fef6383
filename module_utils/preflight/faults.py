"""What the judge finds out by itself, by its code: the layer, and the sentences of which a finding is made.

A hint that a program could follow is worded so that one can: `set VARIABLE to VALUE`, `run playbooks/NAME.yml` with or
without `--limit HOST`, and `run 'COMMAND' on HOST`, in the order in which they are to be done (tests/cures.py follows them).
"""

from __future__ import annotations

from typing import NamedTuple

from . import contract as code


class Fault(NamedTuple):
    layer: int
    check: str
    observed: str
    expected: str
    hint: str


FAULTS = {
    code.NAT_RULES_GONE: Fault(
        2, "NAT rules", "the engine's rule for {subnet} (docker_gwbridge) is gone, as after 'iptables -t nat -F' or "
        "'nft flush ruleset'", "a rule by which containers reach the outside",
        "run 'systemctl restart docker' on {host}, which writes the rules again, and let what flushed them (a firewall's "
        "script or service) spare Docker's tables",
    ),
    code.CONNTRACK_FULL: Fault(
        2, "connections", "{count} of the {max} connections that the kernel keeps in mind", "at most {percent} %",
        "{host} drops new connections once the table is full: raise its limit (sysctl net.netfilter.nf_conntrack_max), and "
        "look for what opens so many (conntrack -L)",
    ),
    code.MOUNT_MISSING: Fault(
        2, "bind mount", "{path} is not there", "a file or directory on the host of each rank",
        "create {path} on {host} ('mkdir -p {path}') and put there what the others have, or name another source in training_mounts",
    ),
    code.MOUNT_DENIED: Fault(
        2, "bind mount", "{path} belongs to {owner} with mode {mode}: user {uid} may not {lack} there",
        "a path that the user of the container, {uid}, may {lack}",
        "let user {uid}, as whom the container runs, {lack} it: run 'chown {uid}:{gid} {quoted}' on {host}, or to keep its owner run "
        "'setfacl --modify u:{uid}:{rights} {quoted}' on {host}, or name another source in training_mounts",
    ),
    code.VOLUME_OTHER: Fault(
        2, "volume", "the volume {name} is {has}", "{wanted}, as training_mounts has it",
        "an engine keeps a volume as it was made: run playbooks/stop.yml, which fetches what lies in it, and run 'docker volume rm {name}' on "
        "{host}, or give the volume another source in training_mounts",
    ),
    code.VOLUME_MOUNT: Fault(
        2, "volume", "the volume {name} cannot be mounted at {target}: {said}", "a volume that containers can have",
        "{cure} (the volume is that of {target} in training_mounts)",
    ),
    code.VOLUME_DENIED: Fault(
        2, "volume", "{target}, the volume {name}, belongs to user {owner} with mode {mode}: user {uid} may not {lack} there",
        "a volume that the user of the container, {uid}, may {lack}",
        "let user {uid}, as whom the container runs, {lack} there: give the directory on the server to {uid}:{gid}, or change its mode, or "
        "the driver_opts in training_mounts (uid, mode, rw)",
    ),
    code.DATA_MISSING: Fault(
        2, "data", "{path} is not there", "the data of training_data on the host of each rank",
        "copy {path} to {host}: set training_data_from to {source} and run playbooks/preflight.yml, or copy it by hand",
    ),
    code.DATA_OTHER: Fault(
        2, "data", "{path} has {has}, {first} has {there}: {named}", "the same data as on {first}, the host of rank 0",
        "bring {path} on {host} to what {first} has: set training_data_from to {first} and run playbooks/preflight.yml. Files that {first} does "
        "not have are to be removed by hand",
    ),
    code.BIND_LABEL: Fault(
        2, "SELinux label", "{path} has the type {type}", "a type that containers may use, such as container_file_t",
        "SELinux on {host} keeps {path} from the task, and Docker relabels nothing for a service: label it as "
        "\"semanage fcontext --add --type container_file_t {pattern}\" and 'restorecon -R {path}' do on {host} (until the next "
        "relabelling: 'chcon -R -t container_file_t {path}'). Of a directory of the system, such as /home or /usr, name a part of its "
        "own in training_mounts instead",
    ),
    code.ADDRESS_TWICE: Fault(
        3, "host address", "the machine with the MAC address {mac} has {address} too", "one machine with that address",
        "the address {address} of {host} is that of two machines on the network of {link}: give one of them another (look for {mac} among "
        "the DHCP server's leases and at the switches' ports; 'tcpdump -e -n arp' on {host} shows both), and run site.yml",
    ),
    code.SUBNET_TAKEN: Fault(
        6, "subnet", "{subnet} overlaps {network} of {interface}{way}", "a subnet that no host uses",
        "the subnet of {name} collides with a network of {host}: set swarm_network_subnet to {free}, remove the network "
        "(run 'docker network rm {name}' on {manager}) and run playbooks/swarm.yml",
    ),
    code.GWBRIDGE_TAKEN: Fault(
        6, "gateway bridge", "{subnet} of docker_gwbridge overlaps {network} of {interface}{way}",
        "a bridge that no network of the site meets",
        "tasks on {host} cannot reach {network}: set swarm_gwbridge_subnet to {free}, take the host out of the swarm "
        "(playbooks/remove.yml -e host={host}) and run site.yml, or correct the route (ip route)",
    ),
    code.SUBNET_SMALL: Fault(
        6, "subnet size", "{subnet} has room for {usable}, of which others hold {others}",
        "{needed} addresses: one for each rank, and one for each rank's host",
        "the subnet of {name} is too small for {ranks} ranks, which need a /{prefix} or larger: set swarm_network_subnet to "
        "{free}, remove the network (run 'docker network rm {name}' on {manager}) and run playbooks/swarm.yml",
    ),
    code.SUBNET_FULL: Fault(
        6, "address", "{seen}", "an address of {name} for the task of rank {rank}",
        "no address of {name} ({subnet}) was free for rank {rank} on {host}: remove what holds them ('docker network inspect "
        "{name}' on each host names it), or set swarm_network_subnet to a larger one, such as {free}, remove the network (run "
        "'docker network rm {name}' on {manager}) and run playbooks/swarm.yml",
    ),
    code.LOSS: Fault(
        13, "loss", "{share:.1f} % of the packets are lost ({what})", "less than {limit:g} %",
        "packets are lost on the way from {host} to {peer}{common}: look at the errors and drops of both links (ip -s link), "
        "at cables and switch ports, and for what drops or shapes packets on {host} (tc -s qdisc, iptables -L -v -n)",
    ),
    code.LINK_ERRORS: Fault(
        13, "link errors", "{errors} errors in {packets} packets on {link} during the check", "none",
        "the link {link} of {host} corrupts packets: change its cable or switch port, and look at 'ethtool -S {link}'",
    ),
    code.LINK_DROPS: Fault(
        13, "link drops", "{drops} of {packets} packets dropped at {link} during the check", "less than {limit:g} %",
        "{host} drops packets at {link}: raise the card's buffers (ethtool -G {link}), and look at what else keeps the host "
        "busy (uptime, ip -s link show {link})",
    ),
    code.HALF_DUPLEX: Fault(
        13, "duplex", "{link} runs at half duplex", "full duplex",
        "the link {link} of {host} cannot send and receive at once: let both its ends negotiate (ethtool -s {link} autoneg "
        "on, and the same at the switch), or change the cable",
    ),
    code.BOND_MEMBER: Fault(
        13, "bond", "{member} of {link} runs at {speed} Mbit/s", "{best} Mbit/s as its other members",
        "{member} on {host} is slower than the other links of {link}: check its cable and switch port (ethtool {member})",
    ),
    code.PAIR_SLOW: Fault(
        13, "bandwidth", "{got:g} MB/s ({mbit:.0f} Mbit/s)", "at least {floor:g} MB/s",
        "the way from {host} to {peer} is slow{speed}: check cables and switch ports (ethtool {link}) and for shaping (tc qdisc "
        "show dev {link}), or accept it with preflight_min_pair_bandwidth",
    ),
    code.LINK_SLOW: Fault(
        13, "link speed", "{got:g} MB/s ({mbit:.0f} Mbit/s) over links of {link_mbit} Mbit/s", "at least {floor:.0f} MB/s",
        "{host} reaches {peer} with a small part of its link's speed: look for shaping (tc qdisc show dev {link}), for the "
        "speed of the switches between, and at the card (ethtool {link}), or lower preflight_min_speed_fraction",
    ),
    code.GROUP_SLOW: Fault(
        13, "group bandwidth", "{got:g} MB/s together, while each pair alone reaches {pair:g} MB/s or more",
        "at least {floor:.0f} MB/s",
        "the ranks together are far slower than each pair alone: look for loss under load (ip -s link, tc -s qdisc on each "
        "host), for busy cores (uptime), and at the switch between the hosts, or lower preflight_min_speed_fraction",
    ),
    code.GPU_ECC: Fault(
        5, "GPU memory", "GPU {index} has {count} uncorrected memory errors", "none",
        "reset GPU {index} on {host} (nvidia-smi --gpu-reset -i {index}) or reboot it. If the errors come back, the card wants "
        "replacing (nvidia-smi -q -d ECC)",
    ),
    code.GPU_REPAIR: Fault(
        5, "GPU memory", "GPU {index} has broken memory that it will put aside at its next reset", "none",
        "reset GPU {index} on {host} (nvidia-smi --gpu-reset -i {index}) or reboot it: see nvidia-smi -q -d "
        "ROW_REMAPPER,PAGE_RETIREMENT",
    ),
    code.GPU_PCIE: Fault(
        5, "GPU slot", "GPU {index} has {width} of {full} PCIe lanes", "at least {least} lanes",
        "GPU {index} on {host} is starved by its slot: seat it anew, try another slot, or look at the riser and the BIOS' "
        "settings (nvidia-smi -q -d PCIE, lspci -vv)",
    ),
    code.GPU_THROTTLED: Fault(
        5, "GPU clocks", "GPU {index} is slowed down by {why} (at {temperature} degrees C)", "full clocks",
        "cool GPU {index} on {host}, or give it the power that it asks for: see nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER",
    ),
    code.GPU_TAKEN: Fault(
        5, "GPU memory", "{used} of {total} MiB of GPU {index} are in use", "at least half of it is free",
        "another program holds the memory of GPU {index} on {host}: see nvidia-smi there, and stop it",
    ),
    code.GPU_XID: Fault(
        5, "GPU", "the kernel reported Xid {xid} of the GPU at {bus} within the last day", "none",
        "the GPU at {bus} on {host} had a fault that a reset mends at best (nvidia-smi --gpu-reset, or reboot): see "
        "'journalctl --dmesg --grep Xid' and https://docs.nvidia.com/deploy/xid-errors",
    ),
    code.GPU_LOST: Fault(
        5, "GPU count", "the driver has {has} GPUs, nvidia-smi lists {lists}{said}", "the same GPUs in both",
        "a GPU of {host} or its driver is in trouble: see 'nvidia-smi' and 'journalctl --dmesg --grep NVRM' there, and reboot the host",
    ),
    code.GPU_OFFERED: Fault(
        5, "GPU count", "the host has {has} GPUs to offer, its node in the swarm offers {offers} ({differ})",
        "each GPU of the host, or those of docker_gpu_uuids",
        "run playbooks/docker.yml --limit {host}, which offers what nvidia-smi lists there. If a GPU should be there and is not listed, see "
        "'lspci -d 10de:' and 'journalctl --dmesg --grep NVRM' on {host}",
    ),
    code.GPU_HIDDEN: Fault(
        5, "GPU count", "swarm gave the task {given} GPUs, torch in it sees {sees}", "the GPUs that swarm gave the task",
        "take CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES out of training_env and of the image, and run playbooks/docker.yml --limit {host} (generic "
        "resources, default runtime). 'nvidia-smi -L' in the task tells what the runtime gave it",
    ),
    code.GPU_DRIVER: Fault(
        5, "driver", "the NVIDIA driver {driver}, and the image has CUDA {cuda}", "driver {needed} or newer",
        "the NVIDIA driver {driver} on {host} is too old for the image's CUDA {cuda}, which needs {needed} or newer: update the driver (and "
        "reboot; nvidia-smi tells it), or build the image for an older CUDA with image_cuda",
    ),
    code.GPU_LANES: Fault(
        5, "GPU slot", "GPU {index} has {width} of {full} PCIe lanes", "{full} lanes",
        "a slot of {host} gives GPU {index} fewer lanes than it can use, as boards for two cards do: data comes to it slower (lspci -vv, nvidia-smi -q)",
    ),
    code.GPU_GENERATION: Fault(
        5, "GPU slot", "GPU {index} ran at PCIe generation {generation} under load", "generation {full}, its highest",
        "GPU {index} on {host} stays below its PCIe generation while it works: look at the slot, the riser and the BIOS' settings "
        "(nvidia-smi -q, lspci -vv)",
    ),
    code.GPU_POWER_CAP: Fault(
        5, "GPU power", "GPU {index} is capped at {limit:g} W", "its default of {default:g} W",
        "GPU {index} on {host} was given a lower power limit and computes slower: 'nvidia-smi -i {index} --power-limit={default:g}' gives it its default",
    ),
    code.GPU_PERSISTENCE: Fault(
        5, "GPU driver", "persistence mode is off for {which}", "on",
        "without it the driver of {host} starts anew with each job, which takes seconds and resets power limits: enable nvidia-persistenced "
        "(systemctl enable --now nvidia-persistenced), or 'nvidia-smi --persistence-mode=1' after each boot",
    ),
    code.GPU_HOT: Fault(
        5, "GPU temperature", "GPU {index} is at {temperature} degrees C, {left} below what slows it down", "at least {least} below",
        "GPU {index} on {host} is about to be slowed down: look at its fans and air flow (nvidia-smi -q -d TEMPERATURE)",
    ),
    code.FABRIC_MANAGER: Fault(
        5, "Fabric Manager", "{switches} NVSwitches, and the service nvidia-fabricmanager is {service}", "active",
        "without Fabric Manager CUDA does not start on {host}: run 'systemctl enable --now nvidia-fabricmanager' on {host}. It has to have the version "
        "of the driver, {driver}: install that package where it is missing or fails (journalctl -u nvidia-fabricmanager)",
    ),
    code.FABRIC_STATE: Fault(
        5, "NVLink fabric", "GPU {index} has the fabric state {state}, status {status}", "Completed, Success",
        "GPU {index} of {host} is not in the NVLink fabric: see 'journalctl -u nvidia-fabricmanager' and 'nvidia-smi -q' (Fabric) there, run 'systemctl "
        "restart nvidia-fabricmanager' on {host}, and if that does not help reboot it",
    ),
    code.GPU_DIAG: Fault(
        5, "DCGM", "{test} does not pass on GPU {gpus}: {said}", "each test of dcgmi diag -r 1 passes",
        "see 'dcgmi diag -r 1' on {host}, and with its jobs ended 'dcgmi diag -r 3', which looks closer: it says what to do about each test",
    ),
    code.GPU_DIAG_SILENT: Fault(
        5, "DCGM", "dcgmi gave no result: {said}", "the result of dcgmi diag -r 1",
        "dcgmi is installed on {host} and could not be asked: start its service (systemctl start nvidia-dcgm), and see 'dcgmi diag -r 1' there",
    ),
    code.GPU_TOO_OLD: Fault(
        5, "GPU and torch", "GPU {index} has compute capability {capability}, the image's torch is built for {built}",
        "a torch that is built for it",
        "the GPU on {host} is older than the torch in the image knows: build the image with an older build of torch, such as "
        "one for an older CUDA (image_cuda), and run playbooks/image.yml",
    ),
    code.GPU_TOO_NEW: Fault(
        5, "GPU and torch", "GPU {index} has compute capability {capability}, the image's torch is built for {built}",
        "a torch that is built for it",
        "the GPU on {host} is newer than the torch in the image knows: build the image with a newer torch, or one for a newer "
        "CUDA (image_cuda), and run playbooks/image.yml",
    ),
    code.NO_COMPILER: Fault(
        4, "compiler", "{script} mentions torch.compile, and the image has no {wanted}, which that needs", "a compiler",
        "set image_apt_packages to [g++] and run site.yml (with training_image, install g++ in that image), or set TORCH_COMPILE_DISABLE "
        "to 1 in training_env to train without it",
    ),
}  # fmt: skip
