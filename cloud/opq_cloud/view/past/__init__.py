"""The past of Boxes and groups: any span in one chart, weeks compared, a calendar."""
