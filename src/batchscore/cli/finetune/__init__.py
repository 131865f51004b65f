"""What do the commands of `batchscore finetune` take and say?"""
