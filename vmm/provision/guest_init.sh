#!/bin/busybox sh
# First process of the guest: runs the actions that the kernel command line names and powers off.
#
#   vsmmu.run=disk,fault,domains,renumber,bench,maps,ats,net,nvme,flr,config,lspci,netfault,takeback,
#           pasids,shell
#                                      actions, in this order; disk by default; after `reboot` the next boot goes on
#   vsmmu.iova=0x123456780000          address that `fault` has the DMA test device write to
#   vsmmu.net=OWN,PEER,RECEIVE,SEND    addresses of this guest and of the peer of `net`, which sends to whoever connects to
#                                      port RECEIVE, and takes at port SEND
#   vsmmu.mtu=1500                     payload of the network's largest frames
#   vsmmu.config=0000:00:04.0          the function whose configuration space `config` and `lspci` tell
#   vsmmu.pasids=0000:00:04.0          the DMA test device that `pasids` uses
#   vsmmu.maps=1:1:0,1:64:0            what `maps` measures: threads, pages of a mapping, whether they are scattered
#   vsmmu.seconds=2                    how long each time
#   vsmmu.rounds=1                     how often all of them
#   vsmmu.before=1:1:0                 what it does first, once, and does not tell
#   vsmmu.nvme=4                       how many MiB `nvme` writes
#   vsmmu.turns=1                      before each measurement of `maps` and `bench` a line of the console is waited for
#   vsmmu.mib=256                      how much `bench` reads each time, in MiB; no more than there is
#
# What it has to say goes to the kernel's log as "vsmmu: WORD …", so that each line reaches the console whole, in order
# with the kernel's own and with its timestamp.

export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /mnt
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null

echo on > /proc/sys/kernel/printk_devkmsg
echo 1 > /sys/module/printk/parameters/time
say() { echo "<2>vsmmu: $*" > /dev/kmsg; }
stop() { sync; poweroff -f; sleep 60; }
fail() { say "FAIL $*"; stop; }
quietly() { "$@" 2>/tmp-error || fail "$* says $(head -n 1 /tmp-error)"; }

setting() {
  for word in $(cat /proc/cmdline); do
    case $word in "vsmmu.$1="*) echo "${word#*=}"; return ;; esac
  done
  echo "$2"
}

digest() { # FILE: prints its SHA-256
  set -- $(sha256sum "/mnt$1" 2>/dev/null) "$1"
  [ $# = 3 ] || fail "Cannot read $1 of the disk"
  echo "$1"
}

claim_dma_device() { # Before 6.15 Linux puts a device behind its IOMMU only when a driver takes it.
  for dma in /sys/bus/pci/devices/*; do
    [ "$(cat $dma/vendor) $(cat $dma/device)" = "0x1b36 0x0005" ] || continue
    echo pci-stub > $dma/driver_override
    echo ${dma##*/} > /sys/bus/pci/drivers_probe 2>/dev/null
    return
  done
  dma=
}

describe() {
  say "kernel $(uname -r)"
  for group in $(ls /sys/kernel/iommu_groups | sort -n); do
    path=/sys/kernel/iommu_groups/$group
    say "group $group $(cat $path/type) $(echo $(ls $path/devices))"
  done
}

attach_disk() {
  for try in $(seq 100); do
    [ -b /dev/vda ] && return
    usleep 50000
  done
  fail "No disk appeared as /dev/vda"
}

disk() {
  attach_disk
  quietly mount -t ext4 /dev/vda /mnt
  say "mount ok"
  say "sha256 /data/input.bin $(digest /data/input.bin)"
  quietly dd if=/dev/urandom of=/mnt/data/output.bin bs=1M count=16
  written=$(digest /data/output.bin)
  say "sha256 /data/output.bin $written"
  sync
  echo 3 > /proc/sys/vm/drop_caches
  [ "$(digest /data/output.bin)" = "$written" ] || fail "/data/output.bin reads back differently"
  say "reread ok"
  quietly umount /mnt
  say "unmount ok"
}

fault() {
  write_unmapped
}

write_unmapped() { # The DMA test device has the registers of QEMU's iommu-testdev.
  [ "$dma" ] || fail "No DMA test device 1b36:0005 on the PCI bus"
  iova=$(setting iova 0x123456780000)
  echo 1 > $dma/enable
  printf '\006' | quietly dd of=$dma/config bs=1 seek=4 conv=notrunc # COMMAND: memory, bus master
  read bar end flags < $dma/resource
  register() { quietly devmem $((bar + $1)) 32 $2; }
  $1                                                                  # What is to be done before it writes.
  register 0x04 $((iova & 0xffffffff))
  register 0x08 $((iova >> 32))
  register 0x0c 4                                                     # LEN
  register 0x18 0xa                                                   # ATTRS: non-secure space
  register 0x1c 0x40000000                                            # GPA, for reading back
  register 0x20 0
  register 0x14 1                                                     # DBELL: arm
  register 0x00 > /dev/null                                           # TRIGGER
  for try in $(seq 100); do
    result=$(register 0x10)
    [ "$result" != 0xFFFFFFFE ] && break
    usleep 10000
  done
  say "dma ${dma##*/} $iova $result"
}

renumber() { # The bus of the DMA test device has another number for a while, of which Linux knows nothing.
  port=$(readlink -f $dma)
  port=${port%/*}
  case ${port##*/} in 0000:00:*) ;; *) fail "${dma##*/} is behind no root port" ;; esac
  ecam=$(awk '/PCI ECAM/ { split($1, range, "-"); print "0x" range[1]; exit }' /proc/iomem)
  number_bus() { # OCTAL: as secondary and subordinate number; a function of the bus is then looked at.
    printf "\\$1\\$1" | quietly dd of=$port/config bs=1 seek=25 conv=notrunc
    quietly devmem $((ecam + (0$1 << 20))) 32 > /dev/null
    usleep 500000
  }
  own=$(printf %o $((0x$(echo ${dma##*/} | cut -d : -f 2))))
  to_other() { number_bus 100; }
  write_unmapped to_other
  number_bus $own
  say "moved ${dma##*/} 0000:40:00.0"
}

head_of_disk() { dd if=/dev/vda bs=64k count=8 iflag=direct 2>/dev/null | sha256sum; }

domains() { # Linux changes STE and CD of a stream that was in use: the disk goes from domain to domain, and back to its own.
  attach_disk
  before=$(head_of_disk)
  pci=$(readlink -f /sys/block/vda/device/..)
  driver=$(readlink -f $pci/driver)
  own=$(cat $pci/iommu_group/type)
  for type in DMA-FQ DMA identity $own; do
    echo ${pci##*/} > $driver/unbind
    echo $type > $pci/iommu_group/type || fail "The disk cannot have an IOMMU group of type $type"
    echo ${pci##*/} > $driver/bind
    attach_disk
    [ "$(head_of_disk)" = "$before" ] || fail "The disk reads differently in a group of type $type"
    say "domain $(cat $pci/iommu_group/type) ok"
  done
}

turn() { # Somebody else is measured meanwhile.
  [ "$(setting turns 0)" = 1 ] || return 0
  say "turn"
  read answer
}

bench() { # Direct, in large blocks of huge pages: the way of DMA, not the guest's page cache or its scattered memory.
  attach_disk
  echo always > /sys/kernel/mm/transparent_hugepage/enabled
  echo always > /sys/kernel/mm/transparent_hugepage/defrag
  mib=$(setting mib 256)
  size=$(($(cat /sys/block/vda/size) >> 11))
  [ $mib -le $size ] || mib=$((size / 8 * 8))
  for round in 1 2 3 4 5; do # The host takes the seconds from the timestamps of begin and end.
    turn
    say "begin read"
    quietly dd if=/dev/vda of=/dev/null bs=8M count=$((mib / 8)) iflag=direct
    say "end read $((mib << 20))"
  done
  quietly mount -t ext4 /dev/vda /mnt
  for round in 1 2 3 4 5; do
    turn
    say "begin write"
    quietly dd if=/dev/zero of=/mnt/bench.bin bs=8M count=8 oflag=direct conv=notrunc
    say "end write $((64 << 20))"
  done
  rm /mnt/bench.bin
  quietly umount /mnt
}

le32() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }

maps() { # Linux's own benchmark of DMA mappings, by the network card or else the DMA test device: threads:pages:scattered.
  mapper=$dma
  [ -e /sys/class/net/eth0/device ] && mapper=/sys/bus/pci/devices/$(basename $(readlink -f /sys/class/net/eth0/device))
  [ "$mapper" ] || fail "No network card and no DMA test device 1b36:0005 on the PCI bus"
  bench=/sys/kernel/debug/dma_map_benchmark
  [ -e $mapper/driver ] && echo ${mapper##*/} > $mapper/driver/unbind
  echo dma_map_benchmark > $mapper/driver_override
  echo ${mapper##*/} > /sys/bus/pci/drivers_probe
  [ -e $bench ] || fail "The kernel has no dma_map_benchmark"
  say "maps $(cat $mapper/iommu_group/type 2>/dev/null || echo none)"
  [ "$(setting before)" ] && measure_maps $(setting before) > /dev/null
  for round in $(seq $(setting rounds 1)); do
    for each in $(setting maps 1:1:0 | tr , ' '); do
      turn
      say "map $(measure_maps $each)"
    done
  done
}

measure_maps() { # THREADS:PAGES:SCATTERED: prints them, and how long a map and an unmap took, in 100 ns.
  IFS=: read threads pages scattered <<END
$1
END
  { # DMA_MAP_BENCHMARK and its struct map_benchmark: four times, threads, seconds, node, bits, direction, pause, pages, mode
    printf "$(le32 0xc0886401)"
    head -c 36 /dev/zero
    for word in $threads $(setting seconds 2) -1 32 0 0 $pages $scattered; do printf "$(le32 $word)"; done
    head -c 72 /dev/zero
  } > /struct
  ioctl 3 < /struct > /times 3<> $bench || fail "dma_map_benchmark says error $((256 - $?))"
  set -- $(od -An -v -tu4 -N32 /times)
  echo "$threads $pages $scattered $1 $5"
}

attach_card() { # Sets `card` to the PCI address of the network card.
  for try in $(seq 200); do
    [ -e /sys/class/net/eth0/device ] && break
    usleep 50000
  done
  [ -e /sys/class/net/eth0/device ] || fail "No network card appeared as eth0"
  pci=$(readlink -f /sys/class/net/eth0/device)
  card=${pci##*/}
}

net() { # Both ways; what goes and comes is told by its SHA-256.
  attach_card
  IFS=, read own peer receive send <<END
$(setting net)
END
  driver=$(readlink -f $pci/driver)
  say "card $card ${driver##*/} $own"
  while read start end type; do
    say "reserved $card $start $end $type"
  done < $pci/iommu_group/reserved_regions
  quietly ifconfig eth0 mtu $(setting mtu 1500)
  quietly ifconfig eth0 $own netmask 255.255.255.0 up
  for try in $(seq 200); do
    [ "$(cat /sys/class/net/eth0/carrier)" = 1 ] && break
    usleep 50000
  done
  quietly ping -c 1 -W 10 $peer > /dev/null
  say "begin receive"
  quietly nc $peer $receive < /dev/null > /received
  say "end receive $(stat -c %s /received)"
  set -- $(sha256sum /received)
  say "sha256 receive $1"
  say "begin send"
  quietly nc $peer $send < /received > /dev/null
  say "end send $(stat -c %s /received)"
  rm /received
  say "interrupts $card $(grep -c "MSIX-$card" /proc/interrupts) $(grep "MSIX-$card" /proc/interrupts | awk '{ for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }')"
}

nvme() { # An ext4 file system on the first NVMe disk.
  for try in $(seq 200); do
    [ -b /dev/nvme0n1 ] && break
    usleep 50000
  done
  [ -b /dev/nvme0n1 ] || fail "No disk appeared as /dev/nvme0n1"
  quietly mount -t ext4 /dev/nvme0n1 /mnt
  mib=$(setting nvme 4)
  # Only what does not come out of a cache is worth something.
  set -- $(dd if=/dev/urandom bs=1M count=$mib 2>/dev/null | tee /mnt/file | sha256sum)
  say "sha256 nvme-written $1"
  say "begin write"
  sync
  say "end write $((mib << 20))"
  quietly umount /mnt
  quietly mount -t ext4 /dev/nvme0n1 /mnt
  say "begin read"
  set -- $(sha256sum /mnt/file)
  say "end read $((mib << 20))"
  say "sha256 nvme-read $1"
  quietly umount /mnt
}

flr() { # The NVMe disk is reset as a PCI function while it reads, and its driver goes on.
  pci=$(readlink -f /sys/block/nvme0n1/device/device)
  dd if=/dev/nvme0n1 of=/dev/null bs=64k count=256 iflag=direct 2>/dev/null &
  usleep 100000
  echo 1 > $pci/reset || fail "The NVMe disk cannot be reset"
  say "reset ${pci##*/}"
  wait
  quietly mount -t ext4 /dev/nvme0n1 /mnt
  set -- $(sha256sum /mnt/file)
  say "sha256 nvme-after-reset $1"
  quietly umount /mnt
}

config() { # Sixteen bytes a line, with their offset; those that are all zero are left out, as a serial console is slow.
  address=$(setting config)
  od -Ax -v -tx1 /sys/bus/pci/devices/$address/config | while read offset bytes; do
    case $bytes in *[1-9a-f]*) say "config $address $offset $bytes" ;; esac
  done
}

lspci() { # What lspci says of the function, line by line.
  [ -x /usr/bin/lspci ] || fail "This initramfs has no lspci"
  /usr/bin/lspci -vvv -s $(setting config) > /lspci 2> /lspci-errors || fail "lspci says $(head -n 1 /lspci-errors)"
  while IFS= read -r line; do
    say "lspci $line"
  done < /lspci
}

netfault() { # The card, which no driver has any more, is told to read descriptors where nothing is mapped.
  attach_card
  iova=$(setting iova 0x123456780000)
  echo $card > $pci/driver/unbind
  echo 1 > $pci/enable
  printf '\006' | quietly dd of=$pci/config bs=1 seek=4 conv=notrunc # COMMAND: memory, bus master
  read bar end flags < $pci/resource
  register() { quietly devmem $((bar + $1)) 32 $2; }
  register 0x3800 $((iova & 0xffffffff))                              # TDBAL, TDBAH
  register 0x3804 $((iova >> 32))
  register 0x3808 4096                                                # TDLEN
  register 0x3828 0x02000000                                          # TXDCTL: enable
  say "doorbell $card"
  register 0x3818 1                                                   # TDT: one descriptor
  usleep 1000000
}

takeback() { # The host wants the card back. A port unplugs it; elsewhere its registers read as ones, and its driver is told here.
  attach_card
  say "kept $card"
  how=unplugged
  for try in $(seq 300); do
    [ -e $pci ] || break
    if [ "$how" = unplugged ] && [ "$(od -An -tx2 -N2 $pci/config | tr -d ' ')" = ffff ]; then
      how=ones
      ls -d ${pci%/*}/*:pcie* > /dev/null 2>&1 && how=pulled           # A driver of the port sees to it.
      [ $how = pulled ] || echo 1 > $pci/remove
    fi
    usleep 200000
  done
  [ -e $pci ] && fail "$card is still there"
  [ -e /sys/class/net/eth0 ] && fail "The driver of $card has not let go"
  say "gone $card $how"
}

call() { # FD REQUEST WORD…: an ioctl whose structure is these words; sets `answer` to what they are then.
  fd=$1
  { for word in $2 0; do printf "$(le32 $word)"; done; shift 2; for word; do printf "$(le32 $word)"; done; } > /request
  ioctl $fd < /request > /answer || fail "ioctl $(od -An -tx4 -N4 /request) says error $((256 - $?))"
  answer=$(od -An -v -tu4 /answer)
}

word() { # INDEX: one of the answer's
  set -- $1 $answer
  shift $1
  echo $2
}

space() { # PAGE: an address space for PASIDs, with this page of the file at $iova; prints its HWPT.
  call 3 0x3b81 12 0 0                                                # IOMMU_IOAS_ALLOC
  ioas=$(word 2)
  call 3 0x3b8f 40 7 $ioas 5 $(($1 * 4096)) 0 4096 0 $((iova & 0xffffffff)) $((iova >> 32)) # IOMMU_IOAS_MAP_FILE
  call 3 0x3b89 48 8 $device $ioas 0 0 0 0 0 0 0 0                    # IOMMU_HWPT_ALLOC
  word 4
}

bind() { # FUNCTION: is VFIO's, and of an iommufd: file 3. File 4 is it, 5 three pages.
  address=${1##*/}
  [ -e $1/driver ] && echo $address > $1/driver/unbind
  echo vfio-pci > $1/driver_override
  echo $address > /sys/bus/pci/drivers_probe
  node=/dev/vfio/devices/$(ls $1/vfio-dev)
  [ -c $node ] || fail "$address does not belong to VFIO"
  quietly mount -t tmpfs tmpfs /mnt
  quietly dd if=/dev/zero of=/mnt/pages bs=4096 count=3
  exec 3<>/dev/iommu 4<>$node 5<>/mnt/pages
  call 4 0x3b76 16 0 3 0                                              # VFIO_DEVICE_BIND_IOMMUFD
  device=$(word 3)
}

mapped_for() { # FUNCTION: a page is mapped for it at $iova, in `ioas`.
  echo Y > /sys/module/iommufd/parameters/allow_unsafe_interrupts     # Messages go to a GICv2m, which isolates nothing.
  bind $1
  call 3 0x3b81 12 0 0                                                # IOMMU_IOAS_ALLOC
  ioas=$(word 2)
  call 3 0x3b8f 40 7 $ioas 5 0 0 4096 0 $((iova & 0xffffffff)) $((iova >> 32)) # IOMMU_IOAS_MAP_FILE
  call 3 0x3b89 48 8 $device $ioas 0 0 0 0 0 0 0 0                    # IOMMU_HWPT_ALLOC
  call 4 0x3b77 16 0 $(word 4) 0                                      # VFIO_DEVICE_ATTACH_IOMMUFD_PT
}

extended() { # ID: where this extended capability of the DMA test device is.
  at=256
  while [ $at -ne 0 ]; do
    head=$(od -An -tu4 -j $at -N 4 $dma/config)
    [ $((head & 0xffff)) -eq $(($1)) ] && { echo $at; return; }
    at=$((head >> 20))
  done
}

configure() { # OFFSET VALUE: 4 bytes of the DMA test device's configuration space.
  printf "$(le32 $2)" | quietly dd of=$dma/config bs=4 count=1 seek=$(($1 / 4)) conv=notrunc
}

ats() { # The DMA test device translates for itself a page that VFIO maps, if Linux has that, and asks Linux for another.
  [ "$dma" ] || fail "No DMA test device 1b36:0005 on the PCI bus"
  ats=$(extended 0x0f) pri=$(extended 0x13)
  [ "$ats" ] && [ "$pri" ] || fail "${dma##*/} has no ATS or no page requests"
  result=none iova=0x345670000
  [ -c /dev/iommu ] && mapped_for $dma
  printf '\006' | quietly dd of=$dma/config bs=1 seek=4 conv=notrunc # COMMAND: memory, bus master
  read bar end flags < $dma/resource
  register() { quietly devmem $((bar + $1)) 32 $2; }
  control=0x$(od -An -tx2 -j $((ats + 6)) -N 2 $dma/config | tr -d ' ')
  register 0x04 $((iova & 0xffffffff))
  register 0x08 $((iova >> 32))
  register 0x0c 4                                                     # LEN
  register 0x1010 2                                                   # ATS_REQUEST: to write
  if [ "$ioas" ]; then
    register 0x1c $(register 0x1018)                                  # GPA: what was answered
    register 0x20 $(register 0x101c)
    register 0x1020 1                                                 # ADDRESSING: by the ATC
    register 0x14 1                                                   # DBELL
    register 0x00 > /dev/null                                         # TRIGGER
    result=$(register 0x10)
    call 3 0x3b86 24 $ioas $((iova & 0xffffffff)) $((iova >> 32)) 4096 0 # IOMMU_IOAS_UNMAP
  fi
  kept=$(register 0x1024) invalidations=$(register 0x1028)
  configure $((pri + 12)) 32                                          # Outstanding Page Request Allocation
  configure $((pri + 4)) 1                                            # Enable
  register 0x1030 0x50013                                             # PRI_REQUEST: to read and write, last of group 5
  for try in $(seq 100); do
    answer=$(register 0x1034)
    [ $((answer >> 31)) -ne 0 ] && break
    usleep 10000
  done
  say "ats ${dma##*/} $control $result $((kept)) $((invalidations)) $answer"
  [ "$ioas" ] || return
  exec 3<&- 4<&- 5<&-
  quietly umount /mnt
}

pasids() { # A program's way to PASIDs: VFIO and iommufd. One IOVA for the function and two PASIDs of it, and three pages.
  function=/sys/bus/pci/devices/$(setting pasids)
  bind $function
  iova=0x345670000
  plain=$(space 0) one=$(space 1) two=$(space 2)
  call 4 0x3b77 16 0 $plain 0                                         # VFIO_DEVICE_ATTACH_IOMMUFD_PT
  call 4 0x3b77 16 1 $one 1
  call 4 0x3b77 16 1 $two 2
  read bar end flags < $function/resource
  register() { quietly devmem $((bar + $1)) 32 $2; }
  for pasid in 0 0x80000001 0x80000002; do                            # bit 31: there is one
    for at in $iova $((iova + 4096)); do
      quietly dd if=/dev/zero of=/mnt/pages bs=4096 count=3 conv=notrunc
      register 0x1000 $pasid
      register 0x04 $((at & 0xffffffff))
      register 0x08 $((at >> 32))
      register 0x0c 4                                                 # LEN
      register 0x14 1                                                 # DBELL
      register 0x00 > /dev/null                                       # TRIGGER
      reached=$(for page in 0 1 2; do od -An -tx4 -N4 -j $((page * 4096)) /mnt/pages; done | grep -n 12345678)
      say "pasid $address $((pasid & 0xfffff)) $at ${reached%%:*}"
    done
  done
  exec 3<&- 4<&- 5<&-
  quietly umount /mnt
}

shell() { setsid cttyhack sh; }

# The command line is the same after a reboot, so word of how far we are goes over the disk.
WORD=/mnt/.vsmmu-reboot

reboot() {
  attach_disk
  quietly mount -t ext4 /dev/vda /mnt
  echo $at > $WORD || fail "Cannot write to the disk"
  quietly umount /mnt
  /bin/reboot -f
  sleep 60
}

before_reboot() { # Sets `over` to how many actions are done. The word is taken: a later start that nobody planned begins anew.
  over=0
  case ,$(setting run disk), in *,reboot,*) ;; *) return ;; esac
  attach_disk
  quietly mount -t ext4 /dev/vda /mnt
  if [ -e $WORD ]; then
    over=$(cat $WORD)
    rm $WORD
    [ -e /mnt/data/output.bin ] && say "sha256 /data/output.bin $(digest /data/output.bin)"
  fi
  quietly umount /mnt
}

for module in /modules/*.ko; do
  [ -e $module ] && quietly insmod $module
done
claim_dma_device
describe
before_reboot
at=0
for action in $(setting run disk | tr , ' '); do
  at=$((at + 1))
  [ $at -gt $over ] || continue
  case $action in
    disk | fault | domains | renumber | bench | maps | ats | net | nvme | flr | config | lspci | netfault | takeback | pasids | shell | reboot) say "run $action"; $action ;;
    *) fail "No such action: $action" ;;
  esac
done
say "done"
stop
