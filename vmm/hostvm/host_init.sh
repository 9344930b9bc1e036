#!/bin/busybox sh
# The first process of the Host VM: devices ready to be given away, one task, its exit code, power off.
# Ports: vsmmu.control takes `start` and `exit N`, vsmmu.files a tar archive of what the task left in $VSMMU_OUT.
/bin/busybox mount -t tmpfs -o mode=0755,size=75% tmpfs /run
/bin/busybox mkdir -p /run/root /run/upper /run/work /run/lower
/bin/busybox mount --bind / /run/lower
/bin/busybox mount -t overlay -o lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work overlay /run/root
cat > /run/root/stage2 2>/dev/null <<'STAGE2'
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=${TERM:-dumb}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
ifconfig lo up 2>/dev/null
ln -sf /proc/self/fd /dev/fd

# Ports of virtio-serial by name.
for port in /sys/class/virtio-ports/*; do
  [ -e "$port/name" ] && ln -sf "/dev/${port##*/}" "/dev/$(cat "$port/name")"
done

# Virtual functions of the network card, the NVMe disk and our DMA test devices belong to VFIO.
give() {
  echo vfio-pci > "$1/driver_override"
  [ -e "$1/driver" ] && echo "${1##*/}" > "$1/driver/unbind"
  echo "${1##*/}" > /sys/bus/pci/drivers_probe
}
for card in /sys/bus/pci/devices/*; do
  [ -e "$card/sriov_numvfs" ] || continue
  echo 0 > "$card/sriov_drivers_autoprobe"
  echo 2 > "$card/sriov_numvfs"
  for function in "$card"/virtfn*; do give "$(readlink -f "$function")"; done
done
for function in /sys/bus/pci/devices/*; do
  case "$(cat "$function/class" "$function/vendor" "$function/device" | tr '\n' ' ')" in
    "0x010802 "* | "0x00ff00 0x1b36 0x0005 ") give "$function" ;;
  esac
done

# What guests consist of, if it came along, is where the cache is.
if [ -b /dev/vdc ]; then
  mkdir -p /tmp/parts /tmp/parts-upper /tmp/parts-work /tmp/.cache/vsmmu
  mount -t ext4 -o ro /dev/vdc /tmp/parts
  mount -t overlay -o lowerdir=/tmp/parts,upperdir=/tmp/parts-upper,workdir=/tmp/parts-work overlay /tmp/.cache/vsmmu
  export VSMMU_GUEST_KERNEL=/tmp/.cache/vsmmu/Image
fi

mkdir -p /tmp/repository /tmp/out
tar xf /dev/vdb -C /tmp/repository
cd /tmp/repository
export VSMMU_OUT=/tmp/out DENO_DIR=/deno-dir NO_COLOR=1
echo start > /dev/vsmmu.control
sh /tmp/repository/.hostvm/task < /dev/vsmmu.input > /dev/vsmmu.output 2> /dev/vsmmu.errors
code=$?
tar cf /dev/vsmmu.files -C /tmp/out .
echo "exit $code" > /dev/vsmmu.control
sync
poweroff -f
STAGE2
exec /bin/busybox chroot /run/root /bin/busybox sh /stage2
