/* What the bench compares with: the same ioctls, one after the other, by a C program. */
int ioctl(int, unsigned long, ...);

int repeat(int fd, unsigned long request, void *argument, int times) {
  int result = 0;
  for (int i = 0; i < times && result == 0; i++) result = ioctl(fd, request, argument);
  return result;
}
