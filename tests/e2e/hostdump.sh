# A host's whole relevant state as text. What changes by itself is left out, each thing for its reason.
set -u
section() { printf '\n== %s\n' "$1"; }
# An IPv6 address is "tentative", and has no route yet, for the first second: duplicates are looked for.
tries=50
while [ -n "$(ip -6 -o address show tentative)" ] && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
without_counters() { sed -E '/^#/d; s/\[[0-9]+:[0-9]+\]//'; }

section links # without indices, sizes that the kernel chooses for every link, a bridge's timers, docker0's random MAC
ip -o -d link show |
    sed -E 's/ (qlen|gso_max_size|tso_max_size|gso_max_segs|tso_max_segs|gro_max_size) [0-9]+//g' |
    sed -E 's/ (gso_ipv4_max_size|gro_ipv4_max_size|numtxqueues|numrxqueues) [0-9]+//g' |
    sed -E 's/ [a-z_]+_timer +[0-9.]+//g; /^[0-9]+: docker0/s/ (link.ether|bridge_id|designated_root) [0-9a-f.:]+//g' |
    sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/link-netnsid [0-9]+//' | sort
section addresses
ip -o address show | sed -E 's/^[0-9]+: //; s/(valid_lft|preferred_lft) [0-9a-z]+//g' | sort
section routes
ip route show table all | sort
section iptables # and of Docker's own jump, which it makes twice if it makes two networks at once (26.1.5), the first
once() { awk '!(/^-A FORWARD -j DOCKER-USER$/ && seen++)'; }
iptables-save | without_counters | once
section ip6tables
ip6tables-save | without_counters | once
section sysctls # without counters, caches and random numbers
sysctl -a 2>/dev/null | grep '^net\.' |
    grep -vE 'random|nf_conntrack_(count|max)|fastopen_key|stable_secret' | sort
section files
find /etc /usr/local /root -xdev ! -name .bash_history -printf '%y %m %U %G %p %l\n' | sort
find /etc /usr/local -xdev -type f -print0 | sort -z | xargs -0 sha256sum
section units
systemctl list-unit-files --no-legend --no-pager | sort
systemctl list-units --all --no-legend --no-pager 'macvlan-fabric*' | sort
section docker
docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}' | sort
docker ps -a --format '{{.Names}} {{.Image}} {{.State}} {{.Networks}}' | sort
docker volume ls -q | sort
