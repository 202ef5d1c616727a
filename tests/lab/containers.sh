#!/usr/bin/env bash
# Real container engines without network or systemd: podman, and a dockerd in a network namespace of its own.
# The image is lab:1, a static busybox. containers.sh up | down; docker-up | docker-down for a dockerd alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
pod=$LAB/podman
dock=$LAB/docker

rootfs() {
  local applet
  [ -x "$LAB/rootfs/bin/busybox" ] && return 0
  mkdir -p "$LAB/rootfs"/{bin,etc,tmp}
  cp /bin/busybox "$LAB/rootfs/bin/"
  for applet in $(/bin/busybox --list); do
    [ -e "$LAB/rootfs/bin/$applet" ] || ln -s busybox "$LAB/rootfs/bin/$applet"
  done
  echo 'root:x:0:0:root:/:/bin/sh' >"$LAB/rootfs/etc/passwd"
}

files_max() {
  local n
  n=$(ulimit -Hn)
  [ "$n" = unlimited ] && n=65536
  echo "$n"
}

podman_up() {
  packages podman runc conmon busybox-static || { echo "podman: the packages can't be installed here"; return 1; }
  mkdir -p "$pod"/{root,run,tmp,bin}
  rootfs
  # Without CAP_SYS_RESOURCE limits can't be raised; crun does not like mixed cgroups, so runc.
  cat >"$pod/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$(files_max):$(files_max)", "nproc=32768:32768"]
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "$pod/tmp"
CONF
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "${DRIVER:-overlay}" "$pod/root" "$pod/run" \
    >"$pod/storage.conf"
  cat >"$pod/bin/podman" <<SH
#!/bin/sh
export CONTAINERS_CONF=$pod/containers.conf CONTAINERS_STORAGE_CONF=$pod/storage.conf
exec /usr/bin/podman "\$@"
SH
  chmod +x "$pod/bin/podman"
  local run=$pod/bin/podman
  "$run" image exists localhost/lab:1 ||
    tar -C "$LAB/rootfs" -c . | "$run" import -q -c 'CMD ["/bin/sh"]' - lab:1 >/dev/null
  if [ "$("$run" run --rm lab:1 echo ok)" = ok ]; then
    say PODMAN "$run"
    echo "podman is up"
  else
    echo "podman did not come up"
    return 1
  fi
}

docker_up() {
  command -v dockerd >/dev/null || packages docker.io busybox-static || { echo "docker: the packages can't be installed here"; return 1; }
  mkdir -p "$dock"
  rootfs
  export DOCKER_HOST=unix://$dock/docker.sock
  if ! timeout 5 docker info >/dev/null 2>&1; then
    # What it does to links and netfilter stays in its own network namespace.
    unshare -n dockerd --data-root "$dock/data" --exec-root "$dock/exec" --pidfile "$dock/dockerd.pid" -H "$DOCKER_HOST" \
      --iptables=false --ip6tables=false --ip-forward=false --bridge=none --storage-driver="${DRIVER:-overlay2}" \
      --live-restore --exec-opt native.cgroupdriver=cgroupfs --default-ulimit "nofile=$(files_max):$(files_max)" \
      >"$dock/dockerd.log" 2>&1 </dev/null &
    disown
    local i
    for i in $(seq 200); do [ -S "$dock/docker.sock" ] && timeout 5 docker info >/dev/null 2>&1 && break; sleep .1; done
  fi
  docker image inspect lab:1 >/dev/null 2>&1 ||
    tar -C "$LAB/rootfs" -c . | docker import -c 'CMD ["/bin/sh"]' - lab:1 >/dev/null
  if [ "$(docker run --rm lab:1 echo ok)" = ok ]; then
    say DOCKER_HOST "$DOCKER_HOST"
    echo "docker is up"
  else
    echo "docker did not come up:"
    tail -n 5 "$dock/dockerd.log"
    return 1
  fi
}

podman_down() {
  [ -x "$pod/bin/podman" ] && timeout 30 "$pod/bin/podman" rm -a -f -t 0 >/dev/null 2>&1
  unmount_all "$pod"
  rm -rf "$pod"
}

docker_down() {
  export DOCKER_HOST=unix://$dock/docker.sock
  local ids
  ids=$(timeout 10 docker ps -aq 2>/dev/null) && [ -n "$ids" ] && timeout 30 docker rm -f $ids >/dev/null 2>&1
  end_pid "$dock/dockerd.pid"
  end_pid "$dock/exec/containerd/containerd.pid"
  unmount_all "$dock"
  rm -rf "$dock"
}

case "${1:-}" in
  up) status=0; podman_up || status=1; docker_up || status=1; exit $status ;;
  docker-up) docker_up ;;
  docker-down) set +e; docker_down ;;
  down) set +e; podman_down; docker_down; [ ! -d "$LAB" ] || { say PODMAN ""; say DOCKER_HOST ""; } ;;
  *) echo "usage: $0 up|down|docker-up|docker-down" >&2; exit 2 ;;
esac
