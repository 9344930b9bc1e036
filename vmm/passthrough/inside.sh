#!/bin/sh
# Inside the Host VM: its own end of the network card, the guest, and what lspci says of the first function, here and there.
ifconfig eth0 10.0.9.1 netmask 255.255.255.0 mtu 9000 up
# QEMU's igb drops a packet, at each retry anew, when a buffer of it crosses pages that are not neighbours in the Host VM's
# memory. What the guest's kernel sends never crosses a huge page.
echo 384 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
deno run --no-check --allow-all vmm/cli.ts assigned --huge-pages --kernel "$VSMMU_GUEST_KERNEL" \
  --result "$VSMMU_OUT/result.json" --record "$VSMMU_OUT/trace.jsonl.gz" --config "$VSMMU_OUT/config" \
  --lspci "$VSMMU_OUT/lspci-in-guest" \
  --firmware "${VSMMU_GUEST_KERNEL%/*}/QEMU_EFI.fd" "$@"
code=$?
[ -e "$VSMMU_OUT/config" ] && lspci -F "$VSMMU_OUT/config" -vvv > "$VSMMU_OUT/lspci-bytes"
address=$(sed -n 's/.*"first":"\([^"]*\)".*/\1/p' "$VSMMU_OUT/result.json")
[ -n "$address" ] && lspci -vvv -s "$address" > "$VSMMU_OUT/lspci-host"
exit $code
